// SPDX-License-Identifier: Apache-2.0

package txn

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/weir-stream/weir/runtime/operator"
	"github.com/weir-stream/weir/runtime/record"
)

// Client is the simple form of a [Sink], for rows of type T: its methods may block until ctx ends, which happens with the task. Begin and the methods of sessions are called by
// goroutines beside the task; methods of the client may be called while a session is at work.
type Client[T any] interface {
	// Open connects. It commits and aborts nothing.
	Open(ctx context.Context, c *operator.Context) error
	// Begin begins a transaction.
	Begin(ctx context.Context) (Session[T], error)
	// Commit makes one pre-committed transaction visible; one that is committed already is a success. A transaction that can't be committed any more is an [ExpiredError].
	Commit(ctx context.Context, handle []byte) error
	// AbortLeftovers is that of [Sink].
	AbortLeftovers(ctx context.Context, keep [][]byte) error
	// Close disconnects; called once after Open, also if that failed. What is pre-committed must survive it.
	Close() error
}

// Session is one transaction of a [Client]. It is used by one goroutine at a time.
type Session[T any] interface {
	// Write adds rows, which are valid during the call only.
	Write(ctx context.Context, rows []T) error
	// PreCommit makes durable what was written and returns all that is needed to commit it, in any process. After an error it may be called
	// again, never after a success.
	PreCommit(ctx context.Context) ([]byte, error)
	// Abort gives up a transaction that isn't pre-committed; the last call.
	Abort(ctx context.Context) error
}

// Blocking drives a client. While a batch is being written the task takes no further one.
func Blocking[T any](c Client[T]) Sink { return &blocking[T]{client: c} }

type blocking[T any] struct {
	client Client[T]
	wake   func()
	// beside starts work in a goroutine that ends with Close.
	beside func(func(context.Context))
	ended  sync.WaitGroup
	stop   context.CancelFunc
}

// Open implements [Sink].
func (s *blocking[T]) Open(ctx context.Context, c *operator.Context) error {
	var inner context.Context
	inner, s.stop = context.WithCancel(ctx) //nolint:gosec // Close calls it
	s.wake = c.Wake
	s.beside = func(f func(context.Context)) { s.ended.Go(func() { f(inner) }) }
	return s.client.Open(ctx, c)
}

// Begin implements [Sink]; the client's begins with the first batch.
func (s *blocking[T]) Begin() (Transaction, error) { return &blockingTransaction[T]{s: s}, nil }

// Commit implements [Sink].
func (s *blocking[T]) Commit(ctx context.Context, handles [][]byte) error {
	for _, h := range handles {
		if err := s.client.Commit(ctx, h); err != nil {
			return err
		}
	}
	return nil
}

// AbortLeftovers implements [Sink].
func (s *blocking[T]) AbortLeftovers(ctx context.Context, keep [][]byte) error {
	return s.client.AbortLeftovers(ctx, keep)
}

// Close implements [Sink].
func (s *blocking[T]) Close() error {
	if s.stop == nil {
		return nil
	}
	s.stop()
	s.ended.Wait()
	return s.client.Close()
}

type blockingTransaction[T any] struct {
	s *blocking[T]
	// session is nil until the first batch is being written.
	session Session[T]
	// writing gets the outcome of the write under way; nil for none.
	writing chan error
}

// Write implements [Transaction].
func (t *blockingTransaction[T]) Write(b record.Batch) (operator.Status, error) {
	rows := b.(*record.Rows[T]).Values // an edge carries one type
	done := make(chan error, 1)
	t.writing = done
	t.s.beside(func(ctx context.Context) {
		done <- t.write(ctx, rows)
		t.s.wake()
	})
	return operator.Paused, nil
}

func (t *blockingTransaction[T]) write(ctx context.Context, rows []T) error {
	if t.session == nil {
		session, err := t.s.client.Begin(ctx)
		if err != nil {
			return fmt.Errorf("beginning a transaction: %w", err)
		}
		t.session = session
	}
	return t.session.Write(ctx, rows)
}

// Resume implements [Transaction].
func (t *blockingTransaction[T]) Resume() (operator.Status, error) {
	if t.writing == nil {
		return operator.Done, nil
	}
	select {
	case err := <-t.writing:
		t.writing = nil
		return operator.Done, err
	default:
		return operator.Paused, nil
	}
}

// Seal implements [Transaction]: a batch that is being written holds back the barrier, so nothing is under way.
func (*blockingTransaction[T]) Seal(int64) {}

// PreCommit implements [Transaction].
func (t *blockingTransaction[T]) PreCommit(ctx context.Context) ([][]byte, error) {
	if t.session == nil {
		return nil, nil // nothing was written
	}
	h, err := t.session.PreCommit(ctx)
	if err != nil {
		return nil, err
	}
	return [][]byte{h}, nil
}

// Abort implements [Transaction].
func (t *blockingTransaction[T]) Abort(ctx context.Context) error {
	t.s.stop()
	t.s.ended.Wait()
	if t.session == nil {
		return nil
	}
	if err := t.session.Abort(ctx); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return nil
}
