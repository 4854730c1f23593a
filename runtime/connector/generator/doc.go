// SPDX-License-Identifier: Apache-2.0

// Package generator is a source that makes up rows: each key has the sequence 1, 2, 3 and so on, so that whoever
// reads them can tell whether a row is missing or came twice.
//
// Row r of the source, counted from 0, has key r mod keys and sequence r/keys + 1. The keys are dealt out to at most
// 128 splits, key k to split k mod splits. A split has a position of its own, which is its state; splits move
// between subtasks when the parallelism changes, and there is no more parallelism than splits.
package generator
