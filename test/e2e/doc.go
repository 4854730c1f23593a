// SPDX-License-Identifier: Apache-2.0

// Package e2e has the end-to-end tests: the operator and its jobs on a real cluster, with pods that are killed, frozen and
// deleted, and the output judged from outside of the jobs. They have the build tag e2e and are run by "make e2e"; docs/e2e.md
// says how.
package e2e
