// SPDX-License-Identifier: Apache-2.0

// Package barrier decides when the barriers that arrive on the input channels of a task add up
// to a snapshot. It is pure: a handler takes one control element at a time and answers with the
// steps that the task has to carry out, in order.
//
// [Aligner] is for exactly once: a channel that delivered the barrier is blocked until the
// others did. [Overtaker] is for exactly once, too, and lets a barrier that is marked as unaligned go ahead of
// what is queued before it, which a [Capture] makes part of the snapshot. [Tracker] is for at least once: nothing is
// blocked, barriers are only counted. The end of a channel counts as its barrier. Source: asynchronous barrier
// snapshotting, arXiv 1506.08603.
package barrier
