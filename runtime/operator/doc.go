// SPDX-License-Identifier: Apache-2.0

// Package operator defines what a dataflow operator is to the engine: the interfaces that
// the SDK, the declarative form and the connectors implement and that a task drives.
//
// An instance belongs to one subtask and is called by one goroutine at a time. It works
// batch by batch: per-row work is a loop inside one Process call. It never blocks: no lock
// held for long, no I/O in Process or Poll (a connector does I/O in goroutines of its own,
// started in Open and ended in Close, and calls Context.Wake when something is ready).
// Commit in NotifyComplete may do I/O, bounded by the context it is given.
//
// Back-pressure. Emit and Process answer Done or Paused. Paused means that the batch is not
// yet taken in full because an output further down has no room: the caller stops, keeps the
// batch as it is, and is resumed later. An operator that emits in a loop remembers its place,
// returns Paused, and goes on in Resume; the engine resumes operators further down first.
// An operator that emits once per Process (map, filter) hands the status through and has
// nothing to do in Resume but answer Done.
package operator
