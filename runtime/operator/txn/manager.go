// SPDX-License-Identifier: Apache-2.0

package txn

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weir-stream/weir/runtime/operator"
	"github.com/weir-stream/weir/runtime/record"
)

// abortTimeout bounds how long a task that ends tries to abort its open transaction.
const abortTimeout = 5 * time.Second

// Manager keeps the transactions of one subtask. Its methods are called by the goroutine of the task.
type Manager struct {
	sink Sink
	c    *operator.Context

	// current is the open transaction; nil for none.
	current Transaction
	// sealed are those that are not committed yet, oldest first.
	sealed []*sealed

	// beside starts work in a goroutine that ends with Close; ended waits for it.
	beside func(func(context.Context))
	ended  sync.WaitGroup
	stop   context.CancelFunc
	// abort ends the open transaction when the task ends.
	abort func(Transaction) error
	// final gets the outcome of the commit at the end of a job without snapshots; nil before.
	final chan error
}

// sealed is a transaction that some snapshot holds.
type sealed struct {
	tx Transaction
	// checkpoint is the first snapshot that holds it.
	checkpoint int64
	// turn is held by whoever pre-commits it.
	turn chan struct{}
	// handles is nil until it is pre-committed.
	handles atomic.Pointer[[][]byte]
}

// NewManager returns a manager of the transactions of a sink. Open comes next.
func NewManager(s Sink) *Manager { return &Manager{sink: s} }

// Open opens the sink, commits this subtask's share of the restored handles, and aborts what else the job has left. Close must
// be called also after an error.
func (m *Manager) Open(ctx context.Context, c *operator.Context) error {
	m.c = c
	m.abort = func(tx Transaction) error {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), abortTimeout)
		defer cancel()
		return tx.Abort(ctx)
	}
	inner, stop := context.WithCancel(ctx)
	m.stop = stop
	m.beside = func(f func(context.Context)) { m.ended.Go(func() { f(inner) }) }
	if err := m.sink.Open(ctx, c); err != nil {
		return err
	}
	all := c.List(ListName)
	var share [][]byte
	for i, h := range all {
		if i%c.Parallelism == c.Subtask {
			share = append(share, h)
		}
	}
	if len(share) > 0 {
		if err := m.sink.Commit(ctx, share); err != nil {
			return fmt.Errorf("committing what snapshot %d holds: %w", c.RestoredFrom, err)
		}
	}
	if c.Subtask != 0 {
		return nil
	}
	if err := m.sink.AbortLeftovers(ctx, all); err != nil {
		return fmt.Errorf("aborting what was left open before: %w", err)
	}
	return nil
}

// Current returns the open transaction, and opens one if there is none.
func (m *Manager) Current() (Transaction, error) {
	if m.current != nil {
		return m.current, nil
	}
	tx, err := m.sink.Begin()
	if err != nil {
		return nil, fmt.Errorf("beginning a transaction: %w", err)
	}
	m.current = tx
	return tx, nil
}

// IfOpen returns the open transaction, nil if there is none.
func (m *Manager) IfOpen() Transaction { return m.current }

// seal ends the open transaction.
func (m *Manager) seal(checkpoint int64) {
	if m.current == nil {
		return
	}
	m.current.Seal(checkpoint)
	m.sealed = append(m.sealed, &sealed{tx: m.current, checkpoint: checkpoint, turn: make(chan struct{}, 1)})
	m.current = nil
}

// Snapshot seals the open transaction. The asynchronous part pre-commits all that isn't committed, and yields their handles.
func (m *Manager) Snapshot(b record.Barrier) operator.AsyncSnapshot {
	m.seal(b.Checkpoint)
	held := slices.Clone(m.sealed)
	return func(ctx context.Context) ([]operator.List, error) {
		list := operator.List{Name: ListName, Mode: operator.Union}
		for _, s := range held {
			handles, err := s.preCommit(ctx)
			if err != nil {
				return nil, fmt.Errorf("pre-committing a transaction: %w", err)
			}
			list.Entries = append(list.Entries, handles...)
		}
		return []operator.List{list}, nil
	}
}

// preCommit returns the handles; those who come later wait for who is at it.
func (s *sealed) preCommit(ctx context.Context) ([][]byte, error) {
	select {
	case s.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	defer func() { <-s.turn }()
	if h := s.handles.Load(); h != nil {
		return *h, nil
	}
	handles, err := s.tx.PreCommit(ctx)
	if err != nil {
		return nil, err
	}
	s.handles.Store(&handles)
	return handles, nil
}

// NotifyComplete commits everything that snapshots up to checkpoint hold. After an error it is committed by the next call, or by a restore.
func (m *Manager) NotifyComplete(ctx context.Context, checkpoint int64) error {
	n := 0
	for n < len(m.sealed) && m.sealed[n].checkpoint <= checkpoint {
		n++
	}
	if n == 0 {
		return nil
	}
	if err := m.commit(ctx, m.sealed[:n]); err != nil {
		return err
	}
	m.sealed = slices.Clone(m.sealed[n:])
	return nil
}

func (m *Manager) commit(ctx context.Context, due []*sealed) error {
	var handles [][]byte
	for _, s := range due {
		h := s.handles.Load()
		if h == nil {
			return fmt.Errorf("committing a transaction of snapshot %d, which was never pre-committed: the snapshot can't be complete", s.checkpoint)
		}
		handles = append(handles, *h...)
	}
	if len(handles) == 0 {
		return nil
	}
	return m.sink.Commit(ctx, handles)
}

// Finish commits everything at the end of the input of a job without snapshots; with snapshots the last one does. It is repeated, after the task was woken,
// until it answers true.
func (m *Manager) Finish() (bool, error) {
	if !m.startFinal() {
		return true, nil
	}
	select {
	case err := <-m.final:
		m.final <- err
		return true, err
	default:
		return false, nil
	}
}

// FinishAndWait is Finish for a caller that can't be resumed. The wait ends with the context that Open was given.
func (m *Manager) FinishAndWait() error {
	if !m.startFinal() {
		return nil
	}
	err := <-m.final
	m.final <- err
	return err
}

// startFinal starts the last commit, once; false if there is none to be made.
func (m *Manager) startFinal() bool {
	if m.c.Checkpointed {
		return false
	}
	if m.final != nil {
		return true
	}
	m.seal(0)
	if len(m.sealed) == 0 {
		return false
	}
	due := m.sealed
	m.sealed, m.final = nil, make(chan error, 1)
	m.beside(func(ctx context.Context) {
		m.final <- m.preCommitAndCommit(ctx, due)
		m.c.Wake()
	})
	return true
}

func (m *Manager) preCommitAndCommit(ctx context.Context, due []*sealed) error {
	for _, s := range due {
		if _, err := s.preCommit(ctx); err != nil {
			return fmt.Errorf("pre-committing a transaction: %w", err)
		}
	}
	return m.commit(ctx, due)
}

// Close aborts the open transaction, which no snapshot holds, and closes the sink. It leaves alone what is sealed. Nothing to do if Open was never called.
func (m *Manager) Close() error {
	if m.stop == nil {
		return nil
	}
	m.stop()
	m.ended.Wait()
	var err error
	if tx := m.current; tx != nil {
		m.current = nil
		if err = m.abort(tx); err != nil {
			err = fmt.Errorf("aborting the open transaction: %w", err)
		}
	}
	return errors.Join(err, m.sink.Close())
}
