// SPDX-License-Identifier: Apache-2.0

// Package task runs one subtask of a chain of dataflow operators.
//
// [Core] is the step function: it takes one input element, one poll of the source, or one
// notification at a time, drives the operators, and answers through [Env] and the [Writer] of
// each output channel. It has no goroutine, clock or socket. [Run] is its shell: a loop that
// reads the input, hands it to the core, and waits when there is nothing to do. The simulator
// drives the same core without the shell.
//
// The order of one snapshot (semantics of asynchronous barrier snapshotting): operators flush
// what must be before the barrier, the barrier goes to every output channel, then the state is
// fixed from the tail of the chain to its head, and the rest (writing it) runs beside processing.
//
// Back-pressure. A step may overshoot the room of the outputs by what one input batch yields;
// then [Core.Paused] is true and the core takes nothing but notifications until [Core.Resume]
// finds room. Work that was cut short stands in a list of steps that Resume goes on with.
package task
