// SPDX-License-Identifier: Apache-2.0

// Package sweep finds and deletes what is left in the directory of a job that nothing refers to: what crashes, lost answers and failed
// deletions have left, and damaged checkpoints that a restore went back behind.
//
// What is needed follows from the head: the checkpoints that it names, the files that their manifests list, and what pins hold. Everything
// else below checkpoints/ and shared/ is an orphan, or is being written. The two are told apart by age: a coordinator never commits a snapshot that
// was started longer ago than [snapshot.CommitGrace], and goes on naming a base as long as a snapshot in flight may refer to its files, so
// that an object older than that, with some allowance for clocks that differ, which the head doesn't lead to will never be led to. So a sweep may run
// beside a coordinator, and claims nothing.
//
// Directories of savepoints are looked at as well where it is told which they are, and those that were never completed are reported. Nothing there is deleted.
package sweep
