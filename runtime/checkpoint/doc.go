// SPDX-License-Identifier: Apache-2.0

// Package checkpoint is the coordinator's side of the barrier protocol: it decides when a snapshot
// starts, gathers the acknowledgements of the tasks, makes the snapshot complete and drops what
// is subsumed. It is a pure state machine: no goroutine, no clock, no I/O. Its caller, package job,
// feeds it events with the time, carries out its effects and feeds back their outcomes.
//
// A snapshot is complete in this order: all required tasks acknowledged, the manifest is written, the
// head that names it is swapped in. Only then tasks and callers hear of it.
package checkpoint
