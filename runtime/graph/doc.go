// SPDX-License-Identifier: Apache-2.0

// Package graph holds the logical graph of a job, as the SDK and the declarative form build
// it, and turns it into the physical plan: chains of operators (vertices), subtasks, the
// channels between them and the key groups each subtask owns. It is pure and deterministic:
// coordinator and workers each build the plan from the same program and compare fingerprints.
package graph
