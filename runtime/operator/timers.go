// SPDX-License-Identifier: Apache-2.0

package operator

// TimerHandler is an operator with timers of processing time, in milliseconds since the Unix epoch. The engine asks for the next one
// whenever it has nothing else to do and now and then while it is busy; it fires none while the task is frozen for a
// savepoint, or after the end of the input.
type TimerHandler interface {
	// NextTimer returns a time before which nothing is due, false if there is no timer.
	NextTimer() (at int64, ok bool)
	// OnTime fires the timers that are due at or before now, in order of time; after Paused it is gone on with by Resume.
	OnTime(now int64) (Status, error)
}
