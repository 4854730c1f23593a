// SPDX-License-Identifier: Apache-2.0

// Package transport moves elements between subtasks.
//
// Within a process a [Gate] is the input side of a task: one bounded queue for each channel,
// into which producers push through a [Writer]. A batch goes by pointer. Between processes
// an [Exchange] carries the same elements: one gRPC stream a direction for each pair of
// workers, all channels multiplexed, with credits of our own for each channel.
//
// Bounds are soft: Push never refuses, so that a step of a task always ends; a producer asks
// HasRoom after each step and pauses until its [Signal] says that room came back.
package transport
