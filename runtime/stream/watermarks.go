// SPDX-License-Identifier: Apache-2.0

package stream

import (
	"context"
	"time"

	"github.com/weir-stream/weir/runtime/contract"
	"github.com/weir-stream/weir/runtime/operator"
	"github.com/weir-stream/weir/runtime/record"
)

// Watermarks says how watermarks are made of the rows of a source.
type Watermarks[T any] struct {
	// At returns the event time of a row, in milliseconds since the Unix epoch.
	At func(T) int64
	// OutOfOrder is by how much the event time of a row may be below the highest one before it in the same subtask of the source.
	// A row that is further behind may be late. Default 0.
	OutOfOrder time.Duration
	// IdleAfter is how long a subtask may be without rows before the others go on without its watermark. Default 0: never.
	IdleAfter time.Duration
}

// WithWatermarks has the sources that newSource makes yield watermarks, for [From].
func WithWatermarks[T any](newSource func() Source[T], w Watermarks[T]) func() Source[T] {
	return func() Source[T] {
		m := &marked[T]{Source: newSource(), w: w, highest: record.MinTime}
		if st, ok := m.Source.(operator.Stateful); ok {
			return &statefulMarked[T]{m, st}
		}
		return m
	}
}

type marked[T any] struct {
	Source[T]
	w       Watermarks[T]
	highest int64
	now     func() time.Time
	lastRow time.Time
}

type statefulMarked[T any] struct {
	*marked[T]
	operator.Stateful
}

// Configure passes the configuration of the job on.
func (m *marked[T]) Configure(job contract.JobConfig) { configure(m.Source, job) }

// Open opens the source.
func (m *marked[T]) Open(ctx context.Context, c *operator.Context) error {
	m.now, m.lastRow = c.Now, c.Now()
	return m.Source.Open(ctx, c)
}

// Poll adds the watermark to what the source yields.
func (m *marked[T]) Poll(rows []T) ([]T, operator.Polled, error) {
	before := len(rows)
	rows, p, err := m.Source.Poll(rows)
	for _, v := range rows[before:] {
		m.highest = max(m.highest, m.w.At(v))
	}
	if low := record.MinTime + m.w.OutOfOrder.Milliseconds() + 1; m.highest >= low {
		// A row with the highest time may be followed by others with the same.
		p.Watermark = m.highest - m.w.OutOfOrder.Milliseconds() - 1
	}
	if m.w.IdleAfter > 0 {
		m.idle(len(rows) > before, &p)
	}
	return rows, p, err
}

func (m *marked[T]) idle(active bool, p *operator.Polled) {
	now := m.now()
	if active {
		m.lastRow = now
	}
	due := m.lastRow.Add(m.w.IdleAfter)
	switch {
	case active || p.State == operator.End:
	case !now.Before(due):
		p.Idle = true
	case p.WakeAt.IsZero() || due.Before(p.WakeAt):
		p.WakeAt = due
	}
}

// NotifyComplete hands the completion on to a source that wants to hear of it.
func (m *marked[T]) NotifyComplete(ctx context.Context, checkpoint int64) error {
	if l, ok := m.Source.(operator.Listener); ok {
		return l.NotifyComplete(ctx, checkpoint)
	}
	return nil
}

// listens says whether the source wants to hear of that.
func (m *marked[T]) listens() bool { return listens(m.Source) }

// NotifyAborted hands the end of a snapshot on.
func (m *marked[T]) NotifyAborted(checkpoint int64) {
	if l, ok := m.Source.(operator.Listener); ok {
		l.NotifyAborted(checkpoint)
	}
}
