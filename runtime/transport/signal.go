// SPDX-License-Identifier: Apache-2.0

package transport

// Signal is the wake-up flag of one task. Several calls of Set before the task looks are one
// wake-up. Make it with [NewSignal].
type Signal struct{ c chan struct{} }

// NewSignal returns a signal that is not set.
func NewSignal() *Signal { return &Signal{c: make(chan struct{}, 1)} }

// Set raises the flag. It never blocks and may be called from any goroutine.
func (s *Signal) Set() {
	select {
	case s.c <- struct{}{}:
	default:
	}
}

// C yields once for each time the flag is found raised; receiving lowers it.
func (s *Signal) C() <-chan struct{} { return s.c }
