// SPDX-License-Identifier: Apache-2.0

// Package txntest is an outside for tests of transactional sinks: it keeps transactions as a database would, writes down every begin, pre-commit,
// commit and abort, fails where it is told to, and notes whatever a correct sink never does.
package txntest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/weir-stream/weir/runtime/operator"
	"github.com/weir-stream/weir/runtime/operator/txn"
	"github.com/weir-stream/weir/runtime/record"
)

// State is how far a transaction has come.
type State string

// The states of a transaction.
const (
	Open         State = "open"
	PreCommitted State = "pre-committed"
	Committed    State = "committed"
	Aborted      State = "aborted"
	Expired      State = "expired"
)

// Phase is a call that the outside answers.
type Phase string

// The phases of a transaction.
const (
	Connect        Phase = "connect"
	Begin          Phase = "begin"
	Write          Phase = "write"
	PreCommit      Phase = "pre-commit"
	Commit         Phase = "commit"
	AbortLeftovers Phase = "abort-leftovers"
	Abort          Phase = "abort"
)

// Fault is what goes wrong with a call.
type Fault uint8

// The faults.
const (
	// None lets it succeed.
	None Fault = iota
	// Before fails it before anything is done.
	Before
	// After does it and loses the answer.
	After
)

// ErrInjected is the failure of a call that was told to fail.
var ErrInjected = errors.New("injected failure")

// Transaction is one of the outside's transactions.
type Transaction struct {
	ID    string
	State State
	Rows  []int64
	// job, operator and attempt say whose it is.
	job, operator, attempt string
}

// Outside keeps transactions. Safe for use by several goroutines.
type Outside struct {
	// Fault says what goes wrong with a call; nil for nothing. It is called under a lock, with a number for each call.
	Fault func(p Phase, call int) Fault

	mu struct {
		sync.Mutex
		calls      int
		begun      int
		txs        map[string]*Transaction
		journal    []string
		violations []string
	}
}

// NewOutside returns an empty outside.
func NewOutside() *Outside {
	o := &Outside{}
	o.mu.txs = map[string]*Transaction{}
	return o
}

// Calls is how many calls there were.
func (o *Outside) Calls() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.mu.calls
}

// Journal returns what was done since the last call, one line each.
func (o *Outside) Journal() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	j := o.mu.journal
	o.mu.journal = nil
	return j
}

// Violations lists what a correct sink never does: committing what isn't pre-committed, aborting what is committed, touching what belongs to another job.
func (o *Outside) Violations() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.mu.violations)
}

// Visible returns the rows of committed transactions, sorted.
func (o *Outside) Visible() []int64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	var rows []int64
	for _, t := range o.mu.txs {
		if t.State == Committed {
			rows = append(rows, t.Rows...)
		}
	}
	slices.Sort(rows)
	return rows
}

// Count returns how many transactions are in a state.
func (o *Outside) Count(s State) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	n := 0
	for _, t := range o.mu.txs {
		if t.State == s {
			n++
		}
	}
	return n
}

// Expire drops every transaction that isn't committed, as an outside does with those that are open for too long.
func (o *Outside) Expire() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, t := range o.mu.txs {
		if t.State == Open || t.State == PreCommitted {
			t.State = Expired
		}
	}
}

// call does something under the lock, unless the fault says otherwise.
func (o *Outside) call(ctx context.Context, p Phase, do func() error) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	fault := None
	if o.Fault != nil {
		fault = o.Fault(p, o.mu.calls)
	}
	o.mu.calls++
	if fault == Before || ctx.Err() != nil {
		return fmt.Errorf("%s: %w", p, errors.Join(ErrInjected, ctx.Err()))
	}
	err := do()
	if fault == After && err == nil {
		err = fmt.Errorf("%s, done: %w", p, ErrInjected)
	}
	return err
}

func (o *Outside) notef(format string, args ...any) {
	o.mu.journal = append(o.mu.journal, fmt.Sprintf(format, args...))
}

func (o *Outside) violationf(format string, args ...any) {
	o.mu.violations = append(o.mu.violations, fmt.Sprintf(format, args...))
}

// Sink is a [txn.Sink] of int64 rows in an outside. Its calls to the outside are made at once, by whoever calls it.
type Sink struct {
	o *Outside
	c *operator.Context
	// ctx of Open, for the calls that have none.
	done func() context.Context
}

// NewSink returns a sink of one subtask.
func NewSink(o *Outside) *Sink { return &Sink{o: o} }

// Open implements [txn.Sink].
func (s *Sink) Open(ctx context.Context, c *operator.Context) error {
	s.c = c
	s.done = func() context.Context { return ctx }
	return s.o.call(ctx, Connect, func() error { return nil })
}

// Begin implements [txn.Sink].
func (s *Sink) Begin() (txn.Transaction, error) { return s.begin(s.done()) }

func (s *Sink) begin(ctx context.Context) (*transaction, error) {
	t := &transaction{s: s}
	err := s.o.call(ctx, Begin, func() error {
		s.o.mu.begun++
		t.id = fmt.Sprintf("%s/%s/%s/%d-%d", s.c.JobID, s.c.Name, s.c.Attempt, s.c.Subtask, s.o.mu.begun)
		s.o.mu.txs[t.id] = &Transaction{ID: t.id, State: Open, job: s.c.JobID, operator: s.c.Name, attempt: s.c.Attempt}
		s.o.notef("begin %s", t.id)
		return nil
	})
	return t, err
}

// Commit implements [txn.Sink].
func (s *Sink) Commit(ctx context.Context, handles [][]byte) error {
	for _, h := range handles {
		if err := s.o.call(ctx, Commit, func() error { return s.o.commit(string(h)) }); err != nil {
			return err
		}
	}
	return nil
}

// commit is called with the lock held.
func (o *Outside) commit(id string) error {
	t := o.mu.txs[id]
	switch {
	case t == nil:
		return &txn.ExpiredError{Transaction: id, Err: errors.New("it is unknown")}
	case t.State == Committed:
		o.notef("commit %s again", id)
		return nil
	case t.State == PreCommitted:
		t.State = Committed
		o.notef("commit %s", id)
		return nil
	case t.State == Open:
		o.violationf("commit of %s, which isn't pre-committed", id)
	}
	return &txn.ExpiredError{Transaction: id, Err: fmt.Errorf("it is %s", t.State)}
}

// AbortLeftovers implements [txn.Sink].
func (s *Sink) AbortLeftovers(ctx context.Context, keep [][]byte) error {
	return s.o.call(ctx, AbortLeftovers, func() error {
		if s.c.Subtask != 0 {
			s.o.violationf("subtask %d aborts leftovers", s.c.Subtask)
		}
		var gone []string
		for id, t := range s.o.mu.txs {
			kept := slices.ContainsFunc(keep, func(h []byte) bool { return string(h) == id })
			if t.job == s.c.JobID && t.operator == s.c.Name && t.attempt != s.c.Attempt && !kept && (t.State == Open || t.State == PreCommitted) {
				t.State = Aborted
				gone = append(gone, id)
			}
		}
		slices.Sort(gone)
		if len(gone) > 0 {
			s.o.notef("abort leftovers %s", strings.Join(gone, " "))
		}
		return nil
	})
}

// Close implements [txn.Sink].
func (*Sink) Close() error { return nil }

type transaction struct {
	s      *Sink
	id     string
	sealed bool
}

// Write implements [txn.Transaction].
func (t *transaction) Write(b record.Batch) (operator.Status, error) {
	return operator.Done, t.write(t.s.done(), b.(*record.Rows[int64]).Values) // the edge carries one type
}

func (t *transaction) write(ctx context.Context, rows []int64) error {
	return t.s.o.call(ctx, Write, func() error {
		if t.sealed {
			t.s.o.violationf("write to %s, which is sealed", t.id)
		}
		x := t.s.o.mu.txs[t.id]
		x.Rows = append(x.Rows, rows...)
		return nil
	})
}

// Resume implements [txn.Transaction].
func (*transaction) Resume() (operator.Status, error) { return operator.Done, nil }

// Seal implements [txn.Transaction].
func (t *transaction) Seal(int64) { t.sealed = true }

// PreCommit implements [txn.Transaction].
func (t *transaction) PreCommit(ctx context.Context) ([][]byte, error) {
	err := t.s.o.call(ctx, PreCommit, func() error {
		switch x := t.s.o.mu.txs[t.id]; {
		case !t.sealed:
			t.s.o.violationf("pre-commit of %s, which isn't sealed", t.id)
		case x.State == Open:
			x.State = PreCommitted
			t.s.o.notef("pre-commit %s", t.id)
		case x.State != PreCommitted: // it is already, after an answer that was lost
			return &txn.ExpiredError{Transaction: t.id, Err: fmt.Errorf("it is %s", x.State)}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return [][]byte{[]byte(t.id)}, nil
}

// Abort implements [txn.Transaction].
func (t *transaction) Abort(ctx context.Context) error {
	return t.s.o.call(ctx, Abort, func() error {
		x := t.s.o.mu.txs[t.id]
		if t.sealed {
			t.s.o.violationf("abort of %s, which a snapshot may hold", t.id)
		}
		if x.State == Open {
			x.State = Aborted
			t.s.o.notef("abort %s", t.id)
		}
		return nil
	})
}
