// SPDX-License-Identifier: Apache-2.0

package files

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"

	"github.com/weir-stream/weir/runtime/operator"
	"github.com/weir-stream/weir/runtime/operator/txn"
	"github.com/weir-stream/weir/runtime/record"
	"github.com/weir-stream/weir/runtime/storage"
	"github.com/weir-stream/weir/runtime/storage/memstore"
)

var intRows = record.NewRowType(record.MustCoderOf[int64]())

func appendInt(dst []byte, v int64) []byte { return fmt.Appendf(dst, "%d\n", v) }

// saved is a snapshot of the model.
type saved struct {
	id    int64
	next  int64
	lists []operator.List
}

// world is a job of one sink over a source that numbers its rows, with a coordinator that the test plays.
type world struct {
	t      *testing.T
	mem    *memstore.Memory
	job    string
	faults func(op, key string, call int) memstore.Fault
	limit  int
	// bounded says that no snapshots are taken.
	bounded bool
	attempt int
	sinks   []*sink
	wakes   []chan struct{}
	clients []*memstore.Client
	// mu guards calls, and what faults use.
	mu    sync.Mutex
	calls int

	next   int64
	lastID int64
	// committed is the snapshot to restore from; nil for none.
	committed *saved
}

func newWorld(t *testing.T, mem *memstore.Memory) *world {
	t.Helper()
	return &world{t: t, mem: mem, job: "job-one", limit: 64}
}

// start deploys an attempt from the committed snapshot.
func (w *world) start(ctx context.Context, parallelism int) error {
	w.attempt++
	w.sinks, w.wakes, w.clients, w.next = nil, nil, nil, 0
	var lists []operator.List
	var from int64
	if w.committed != nil {
		w.next, lists, from = w.committed.next, w.committed.lists, w.committed.id
	}
	for i := range parallelism {
		client := w.mem.Client(memstore.Options{Faults: func(op, key string, _ int) memstore.Fault {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.calls++
			if w.faults == nil {
				return memstore.None()
			}
			return w.faults(op, key, w.calls-1)
		}})
		wake := make(chan struct{}, 1)
		s := &sink{
			to: target{path: "memory://out", suffix: ".txt", limit: w.limit, open: func(context.Context, storage.Config) (storage.Store, error) {
				return client, nil
			}},
			newEncoder: Sink(Output{}, appendInt)().(*sink).newEncoder,
		}
		c := &operator.Context{
			JobID: w.job, Name: "out", Subtask: i, Parallelism: parallelism, Attempt: fmt.Sprintf("1-1-%d", w.attempt), Restored: lists,
			RestoredFrom: from, Checkpointed: !w.bounded, Now: time.Now, Log: logr.Discard(), Counters: &operator.Counters{},
			Wake: func() {
				select {
				case wake <- struct{}{}:
				default:
				}
			},
		}
		w.sinks, w.wakes, w.clients = append(w.sinks, s), append(w.wakes, wake), append(w.clients, client)
		if err := s.Open(ctx, c); err != nil {
			return err
		}
	}
	return nil
}

// settle resumes a sink until it is done.
func (w *world) settle(i int, st operator.Status, err error) error {
	for err == nil && st == operator.Paused {
		<-w.wakes[i]
		st, err = w.sinks[i].Resume()
	}
	return err
}

// rows lets n rows flow.
func (w *world) rows(n int) error {
	for range n {
		b := intRows.Get()
		b.Values = append(b.Values, w.next)
		i := int(w.next) % len(w.sinks)
		st, err := w.sinks[i].Process(0, b)
		if err := w.settle(i, st, err); err != nil {
			return err
		}
		b.Release()
		w.next++
	}
	return nil
}

// idle waits until nothing is written beside, so that calls come in a fixed order.
func (w *world) idle() error {
	for i, s := range w.sinks {
		for s.tx.busy.Load() {
			<-w.wakes[i]
		}
		if err := s.tx.err(); err != nil {
			return err
		}
	}
	return nil
}

// snapshot takes one; an error of the asynchronous part is a decline.
func (w *world) snapshot(ctx context.Context, b record.Barrier) (*saved, error) {
	w.lastID++
	b.Checkpoint = w.lastID
	s := &saved{id: b.Checkpoint, next: w.next}
	var errs []error
	for _, k := range w.sinks {
		async, err := k.Snapshot(b)
		if err != nil {
			w.t.Fatal(err)
		}
		lists, err := async(ctx)
		errs = append(errs, err)
		if err != nil {
			continue
		}
		if s.lists == nil {
			s.lists = []operator.List{{Name: txn.ListName, Mode: operator.Union}}
		}
		if lists[0].Mode != operator.Union {
			w.t.Fatal("the parts must be known to all")
		}
		s.lists[0].Entries = append(s.lists[0].Entries, lists[0].Entries...)
	}
	return s, errors.Join(errs...)
}

func (w *world) complete(ctx context.Context, id int64) error {
	var errs []error
	for _, k := range w.sinks {
		errs = append(errs, k.NotifyComplete(ctx, id))
	}
	return errors.Join(errs...)
}

func (w *world) kill() {
	for _, k := range w.sinks {
		if err := k.Close(); err != nil {
			w.t.Error(err)
		}
	}
}

// visible returns the rows that a reader sees.
func visible(t *testing.T, mem *memstore.Memory) []int64 {
	t.Helper()
	var rows []int64
	client := mem.Client(memstore.Options{})
	for _, k := range mem.Keys() {
		if ours(k) {
			continue
		}
		data, _, err := client.Get(t.Context(), k)
		if err != nil {
			t.Fatal(err)
		}
		for l := range strings.Lines(string(data)) {
			var v int64
			if _, err := fmt.Sscan(l, &v); err != nil {
				t.Fatal(err)
			}
			rows = append(rows, v)
		}
	}
	slices.Sort(rows)
	return rows
}

// check holds what is visible against what may be: no row twice, and none that a completed snapshot doesn't cover.
func (w *world) check() {
	w.t.Helper()
	limit := int64(0)
	if w.committed != nil {
		limit = w.committed.next
	}
	rows := visible(w.t, w.mem)
	for i, v := range rows {
		if i > 0 && rows[i-1] == v {
			w.t.Fatalf("row %d is visible twice", v)
		}
		if v >= limit {
			w.t.Fatalf("row %d is visible, but only rows below %d are committed", v, limit)
		}
	}
}

// exact says that rows 0 to n-1 are visible once each.
func exact(t *testing.T, mem *memstore.Memory, n int64) {
	t.Helper()
	want := make([]int64, n)
	for i := range want {
		want[i] = int64(i)
	}
	if d := cmp.Diff(want, visible(t, mem)); d != "" {
		t.Fatalf("visible rows differ (-want +got):\n%s", d)
	}
}

// script is a job's life with every kind of step. A failed step restarts the job from the committed snapshot.
func (w *world) script(ctx context.Context) {
	steps := []func() error{
		func() error { return w.start(ctx, 2) },
		func() error { return w.rows(40) }, w.idle,
		func() error { return w.checkpoint(ctx, true) },
		func() error { return w.rows(7) }, w.idle,
		func() error { // a snapshot that is given up belongs to the next one
			s, _ := w.snapshot(ctx, record.Barrier{})
			for _, k := range w.sinks {
				k.NotifyAborted(s.id)
			}
			return nil
		},
		func() error { return w.rows(30) }, w.idle,
		func() error { _, err := w.snapshot(ctx, record.Barrier{Kind: record.Savepoint}); return err },
		func() error { return w.checkpoint(ctx, false) },
		func() error { return w.rows(5) }, w.idle,
		func() error { w.kill(); return w.start(ctx, 3) },
		func() error { return w.rows(50) }, w.idle,
		func() error { return w.checkpoint(ctx, true) },
		func() error { w.kill(); return w.start(ctx, 1) },
		func() error { return w.rows(9) }, w.idle,
		func() error { return w.checkpoint(ctx, true) },
	}
	for i, s := range steps {
		if err := s(); err != nil {
			w.kill()
			if err := w.recover(ctx); err != nil {
				w.t.Fatalf("after step %d: %v", i, err)
			}
		}
		w.check()
	}
}

// recover starts again until that succeeds.
func (w *world) recover(ctx context.Context) (err error) {
	for range 100 {
		if err = w.start(ctx, 1+w.attempt%3); err == nil {
			return nil
		}
		w.kill()
	}
	return err
}

// checkpoint takes one and completes it; without notify the notification is lost.
func (w *world) checkpoint(ctx context.Context, notify bool) error {
	s, err := w.snapshot(ctx, record.Barrier{})
	if err != nil {
		return err
	}
	w.committed = s
	if !notify {
		return nil
	}
	return w.complete(ctx, s.id)
}

// end takes the last checkpoint and holds the result against the oracle.
func (w *world) end(ctx context.Context) {
	w.faults = nil
	w.kill()
	if err := w.start(ctx, 2); err != nil {
		w.t.Fatal(err)
	}
	if err := w.rows(3); err != nil {
		w.t.Fatal(err)
	}
	if err := w.checkpoint(ctx, true); err != nil {
		w.t.Fatal(err)
	}
	exact(w.t, w.mem, w.next)
	for len(w.mem.Held()) > 0 { // what a dead process has sent arrives now
		_ = w.mem.Release(0)
	}
	exact(w.t, w.mem, w.next)
	w.kill()
	w.committed = &saved{id: w.lastID, next: w.next}
	if err := w.start(ctx, 1); err != nil {
		w.t.Fatal(err)
	}
	w.kill()
	for _, k := range w.mem.Keys() {
		if ours(k) {
			w.t.Errorf("%s is left over", k)
		}
	}
	exact(w.t, w.mem, w.next)
}
