// SPDX-License-Identifier: Apache-2.0

// Package snapshot holds what a checkpoint or savepoint is once it is written: the manifest,
// the head of a job, the plan that gives old state to a new graph, and the verification of
// every byte. It is pure but for the codec; reading and writing objects is up to its callers.
package snapshot
