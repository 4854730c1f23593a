// SPDX-License-Identifier: Apache-2.0

// Package storagetest holds what tests of stores, and tests with real stores, need: the conformance suite, real
// S3-compatible servers on loopback, and a proxy that loses answers.
package storagetest
