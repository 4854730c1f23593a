// SPDX-License-Identifier: Apache-2.0

package files

import (
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-stream/weir/runtime/record"
	"github.com/weir-stream/weir/runtime/storage/memstore"
	"github.com/weir-stream/weir/runtime/task"
)

func TestSink_FaultAtEveryCall(t *testing.T) {
	clean := newWorld(t, memstore.New("clean", nil))
	clean.script(t.Context())
	total := clean.calls
	clean.end(t.Context())
	if total < 30 {
		t.Fatalf("the script makes only %d calls", total)
	}
	for name, fault := range map[string]func(int, int) memstore.Fault{
		"lost once": func(call, at int) memstore.Fault {
			if call == at {
				return memstore.FailBefore(nil)
			}
			return memstore.None()
		},
		"answer lost once": func(call, at int) memstore.Fault {
			if call == at {
				return memstore.FailAfter(nil)
			}
			return memstore.None()
		},
		"held once": func(call, at int) memstore.Fault {
			if call == at {
				return memstore.Hold()
			}
			return memstore.None()
		},
		"four lost": func(call, at int) memstore.Fault {
			if call >= at && call < at+4 {
				return memstore.FailBefore(nil)
			}
			return memstore.None()
		},
		"four answers lost": func(call, at int) memstore.Fault {
			if call >= at && call < at+4 {
				return memstore.FailAfter(nil)
			}
			return memstore.None()
		},
		"four held": func(call, at int) memstore.Fault {
			if call >= at && call < at+4 {
				return memstore.Hold()
			}
			return memstore.None()
		},
	} {
		t.Run(name, func(t *testing.T) {
			for at := range total {
				w := newWorld(t, memstore.New("faults", nil))
				w.faults = func(_, _ string, call int) memstore.Fault { return fault(call, at) }
				w.script(t.Context())
				w.end(t.Context())
				if t.Failed() {
					t.Fatalf("with a fault at call %d", at)
				}
			}
		})
	}
}

func TestSink_RandomLife(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	for i := range uint64(150) {
		r := rand.New(rand.NewPCG(seed, i))
		w := newWorld(t, memstore.New("random", nil))
		w.faults = func(string, string, int) memstore.Fault {
			switch r.IntN(30) {
			case 0:
				return memstore.FailBefore(nil)
			case 1:
				return memstore.FailAfter(nil)
			case 2:
				return memstore.Hold()
			}
			return memstore.None()
		}
		life := rand.New(rand.NewPCG(seed, i+1<<32))
		w.randomLife(t.Context(), life)
		w.end(t.Context())
		if t.Failed() {
			t.Fatalf("in life %d", i)
		}
	}
}

func (w *world) randomLife(ctx context.Context, r *rand.Rand) {
	if err := w.recover(ctx); err != nil {
		w.t.Fatal(err)
	}
	for range 40 {
		var err error
		switch r.IntN(9) {
		case 0, 1, 2:
			if err = w.rows(r.IntN(60)); err == nil {
				err = w.idle()
			}
		case 3:
			err = w.checkpoint(ctx, true)
		case 4:
			err = w.checkpoint(ctx, false)
		case 5:
			_, _ = w.snapshot(ctx, record.Barrier{Kind: record.SnapshotKind(r.IntN(2))}) // given up, or a savepoint
		case 6:
			if n := len(w.mem.Held()); n > 0 {
				_ = w.mem.Release(r.IntN(n))
			}
		case 7:
			if w.committed != nil {
				err = w.complete(ctx, w.committed.id) // repeated or late
			}
		case 8:
			err = errors.New("killed")
		}
		if err != nil {
			w.kill()
			if err := w.recover(ctx); err != nil {
				w.t.Fatal(err)
			}
		}
		w.check()
	}
}

// A plain savepoint commits nothing, and a job started from it commits what it holds.
func TestSink_ForkFromSavepoint(t *testing.T) {
	mem := memstore.New("fork", nil)
	w := newWorld(t, mem)
	ctx := t.Context()
	for _, err := range []error{w.start(ctx, 2), w.rows(20), w.checkpoint(ctx, true), w.rows(11)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	s, err := w.snapshot(ctx, record.Barrier{Kind: record.Savepoint})
	if err != nil {
		t.Fatal(err)
	}
	exact(t, mem, 20)
	w.kill()

	fork := newWorld(t, mem)
	fork.job, fork.committed, fork.lastID = "another", s, s.id
	if err := fork.start(ctx, 3); err != nil {
		t.Fatal(err)
	}
	exact(t, mem, 31)
	for _, err := range []error{fork.rows(4), fork.checkpoint(ctx, true)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	exact(t, mem, 35)
	fork.kill()
}

// A job touches only what it has staged itself.
func TestSink_LeavesOtherJobsAlone(t *testing.T) {
	mem := memstore.New("others", nil)
	w := newWorld(t, mem)
	ctx := t.Context()
	for _, err := range []error{w.start(ctx, 1), w.rows(5), w.idle()} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.snapshot(ctx, record.Barrier{}); err != nil {
		t.Fatal(err)
	}
	before := mem.Keys()
	other := newWorld(t, mem)
	other.job = "another"
	if err := other.start(ctx, 1); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(before, mem.Keys()); d != "" {
		t.Errorf("another job changed (-want +got):\n%s", d)
	}
	other.kill()
	w.kill()
}

func TestSink_LostPartIsLoud(t *testing.T) {
	mem := memstore.New("lost", nil)
	w := newWorld(t, mem)
	ctx := t.Context()
	for _, err := range []error{w.start(ctx, 1), w.rows(5), w.checkpoint(ctx, false)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	w.kill()
	if err := mem.Client(memstore.Options{}).Delete(ctx, mem.Keys()...); err != nil {
		t.Fatal(err)
	}
	err := w.start(ctx, 1)
	if err == nil || !strings.Contains(err.Error(), "its 10 bytes are lost") || !strings.Contains(err.Error(), "create an empty object in its place") {
		t.Errorf("got %v", err)
	}
}

func TestSink_WithoutSnapshotsCommitsAtTheEnd(t *testing.T) {
	mem := memstore.New("bounded", nil)
	w := newWorld(t, mem)
	w.bounded = true
	ctx := t.Context()
	for _, err := range []error{w.start(ctx, 2), w.rows(200)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if rows := visible(t, mem); len(rows) > 0 {
		t.Errorf("%d rows are visible before the end", len(rows))
	}
	for i, s := range w.sinks {
		st, err := s.Finish()
		if err := w.settle(i, st, err); err != nil {
			t.Fatal(err)
		}
	}
	exact(t, mem, 200)
	w.kill()
}

func TestSink_EmptySnapshotWritesNothing(t *testing.T) {
	mem := memstore.New("empty", nil)
	w := newWorld(t, mem)
	ctx := t.Context()
	for _, err := range []error{w.start(ctx, 2), w.checkpoint(ctx, true), w.checkpoint(ctx, true)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if d := cmp.Diff([]string(nil), mem.Keys()); d != "" {
		t.Errorf("keys (-want +got):\n%s", d)
	}
	w.kill()
}

// What is written after a snapshot stays hidden when that snapshot completes.
func TestSink_CompletionCoversOnlyItsSnapshot(t *testing.T) {
	mem := memstore.New("later", nil)
	w := newWorld(t, mem)
	ctx := t.Context()
	for _, err := range []error{w.start(ctx, 1), w.rows(10), w.checkpoint(ctx, false), w.rows(100), w.idle(), w.complete(ctx, 1)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	exact(t, mem, 10)
	if err := w.checkpoint(ctx, true); err != nil {
		t.Fatal(err)
	}
	exact(t, mem, 110)
	w.kill()
}

// The first subtask may start last: what the others have staged by then is theirs.
func TestSink_SweepSparesItsOwnAttempt(t *testing.T) {
	mem := memstore.New("own", nil)
	w := newWorld(t, mem)
	ctx := t.Context()
	if err := w.start(ctx, 2); err != nil {
		t.Fatal(err)
	}
	if err := w.rows(100); err != nil {
		t.Fatal(err)
	}
	if err := w.idle(); err != nil {
		t.Fatal(err)
	}
	late := newWorld(t, mem)
	if err := late.start(ctx, 1); err != nil { // the same job and attempt
		t.Fatal(err)
	}
	if err := w.checkpoint(ctx, true); err != nil {
		t.Fatal(err)
	}
	exact(t, mem, 100)
	late.kill()
	w.kill()
}

func TestSink_PathThatIsNoDirectory(t *testing.T) {
	name := t.TempDir() + "/f"
	write(t, name, "x")
	s := Sink(Output{Path: name}, appendInt)()
	err := s.Open(t.Context(), sinkContext("out", "1", nil))
	wantError(t, err, name, "it is a file: give the path of a directory")
	if _, ok := errors.AsType[*task.FatalError](err); !ok {
		t.Error("a restart would find the same")
	}
	c := sinkContext("out", "2", nil)
	c.RestoredFrom = 7
	err = s.Open(t.Context(), c)
	wantError(t, err, name)
	if _, ok := errors.AsType[*task.FatalError](err); ok {
		t.Error("a job that has state may wait for its storage")
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}
