// SPDX-License-Identifier: Apache-2.0

package memstore

import "errors"

// Fault is what happens to a call.
type Fault struct {
	kind faultKind
	err  error
}

type faultKind int

const (
	none faultKind = iota
	failBefore
	failAfter
	hold
)

var (
	errBefore = errors.New("injected: the request did not arrive")
	errLost   = errors.New("injected: the answer was lost")
	errHeld   = errors.New("injected: no answer in time")
)

// None lets the call through.
func None() Fault { return Fault{} }

// FailBefore fails the call with err without any effect; it is retriable. A nil err is replaced by a general one.
func FailBefore(err error) Fault { return Fault{kind: failBefore, err: orElse(err, errBefore)} }

// FailAfter lets a write happen and loses its answer, whatever it was: the caller gets storage.ErrUnknownOutcome.
// A read fails.
func FailAfter(err error) Fault { return Fault{kind: failAfter, err: orElse(err, errLost)} }

// Hold keeps a write back: the caller gets storage.ErrUnknownOutcome, and the write happens, with its condition checked
// only then, when Memory.Release is called; or never. A read fails.
func Hold() Fault { return Fault{kind: hold, err: errHeld} }

func orElse(err, instead error) error {
	if err == nil {
		return instead
	}
	return err
}

// Held is a write that a Hold fault keeps back.
type Held struct {
	// Op is one of the Op constants and Key the first key of the call.
	Op, Key string
	apply   func() error
}

func (m *Memory) hold(h Held) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.mu.held = append(m.mu.held, h)
}

// Held returns the writes that are kept back, oldest first.
func (m *Memory) Held() []Held {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]Held(nil), m.mu.held...)
}

// Release lets the i-th held write happen and returns what its caller would have got. It panics when there is no such write.
func (m *Memory) Release(i int) error {
	m.mu.Lock()
	h := m.mu.held[i]
	m.mu.held = append(m.mu.held[:i:i], m.mu.held[i+1:]...)
	m.mu.Unlock()
	return h.apply()
}
