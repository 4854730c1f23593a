// SPDX-License-Identifier: Apache-2.0

// Package record holds what flows through a job: batches of rows and the control
// elements that travel in band between them.
//
// A channel connects one upstream subtask with one downstream subtask and carries
// [Element] values in order: batch, watermark, barrier, cancel-barrier, idle marker
// and end of data. The engine looks at a batch only through [Batch] and at the kind of
// batch an edge carries only through [Type]; so typed rows ([Rows], used by the Go SDK)
// and columns (used by declarative dataflows) are both batches.
//
// Ownership. A batch handed to an operator is borrowed: it is valid and unchanged until
// the operator is done with it, and the operator neither modifies nor keeps it. A batch in
// an element on a channel belongs to whoever holds the element; the last holder calls
// Release, which returns it to the pool of its type. A broadcast shares one batch between
// channels by calling Retain once for each further channel.
package record
