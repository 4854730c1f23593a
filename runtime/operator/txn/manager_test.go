// SPDX-License-Identifier: Apache-2.0

package txn_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"

	"github.com/weir-stream/weir/runtime/operator"
	"github.com/weir-stream/weir/runtime/operator/txn"
	"github.com/weir-stream/weir/runtime/operator/txn/txntest"
	"github.com/weir-stream/weir/runtime/record"
)

var ints = record.NewRowType(record.MustCoderOf[int64]())

// one is a job with one subtask, driven by hand.
type one struct {
	t   *testing.T
	out *txntest.Outside
	op  *txn.Operator
	// handles is what the newest snapshot holds.
	handles [][]byte
}

func contextOf(job, attempt string, restored [][]byte) *operator.Context {
	c := &operator.Context{
		JobID: job, Name: "out", Parallelism: 1, Attempt: attempt, Checkpointed: true, Now: time.Now, Log: logr.Discard(), Wake: func() {},
		Counters: &operator.Counters{},
	}
	if restored != nil {
		c.Restored = []operator.List{{Name: txn.ListName, Mode: operator.Union, Entries: restored}}
		c.RestoredFrom = 1
	}
	return c
}

func open(t *testing.T, out *txntest.Outside, c *operator.Context) *one {
	t.Helper()
	w := &one{t: t, out: out, op: txn.NewOperator(txntest.NewSink(out))}
	w.must(w.op.Open(t.Context(), c))
	return w
}

func (w *one) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *one) write(rows ...int64) {
	w.t.Helper()
	b := ints.Get()
	defer b.Release()
	b.Values = append(b.Values, rows...)
	_, err := w.op.Process(0, b)
	w.must(err)
}

// barrier takes a snapshot; its asynchronous part is returned.
func (w *one) barrier(id int64) func(context.Context) error {
	w.t.Helper()
	async, err := w.op.Snapshot(record.Barrier{Checkpoint: id})
	w.must(err)
	return func(ctx context.Context) error {
		lists, err := async(ctx)
		if err == nil {
			if len(lists) != 1 || lists[0].Name != txn.ListName || lists[0].Mode != operator.Union {
				w.t.Errorf("the state is %v", lists)
			}
			w.handles = lists[0].Entries
		}
		return err
	}
}

func (w *one) snapshot(id int64) {
	w.t.Helper()
	w.must(w.barrier(id)(w.t.Context()))
}

func (w *one) complete(id int64) {
	w.t.Helper()
	w.must(w.op.NotifyComplete(w.t.Context(), id))
}

func (w *one) want(lines ...string) {
	w.t.Helper()
	if d := cmp.Diff(lines, w.out.Journal()); d != "" {
		w.t.Errorf("what happened outside (-want +got):\n%s", d)
	}
	if v := w.out.Violations(); len(v) > 0 {
		w.t.Error(v)
	}
}

// TestOperator holds the order of calls of each case against what it must be.
func TestOperator(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		do   func(w *one)
		want []string
		rows []int64
	}{
		"a complete snapshot commits": {
			func(w *one) { w.write(1, 2); w.snapshot(1); w.write(3); w.complete(1) },
			[]string{"begin j/out/1/0-1", "pre-commit j/out/1/0-1", "begin j/out/1/0-2", "commit j/out/1/0-1"},
			[]int64{1, 2},
		},
		"no rows, no transaction": {
			func(w *one) { w.snapshot(1); w.complete(1); w.write(); w.snapshot(2); w.complete(2) }, nil, nil,
		},
		"a snapshot without new rows holds nothing that is committed": {
			func(w *one) {
				w.write(1)
				w.snapshot(1)
				w.complete(1)
				w.snapshot(2)
				if len(w.handles) != 0 {
					w.t.Errorf("it holds %q", w.handles)
				}
			},
			[]string{"begin j/out/1/0-1", "pre-commit j/out/1/0-1", "commit j/out/1/0-1"},
			[]int64{1},
		},
		"a notification that was lost is made good by the next": {
			func(w *one) { w.write(1); w.snapshot(1); w.write(2); w.snapshot(2); w.complete(2) },
			[]string{
				"begin j/out/1/0-1", "pre-commit j/out/1/0-1", "begin j/out/1/0-2", "pre-commit j/out/1/0-2",
				"commit j/out/1/0-1", "commit j/out/1/0-2",
			},
			[]int64{1, 2},
		},
		"a notification that is late commits nothing newer": {
			func(w *one) { w.write(1); w.snapshot(1); w.write(2); w.snapshot(2); w.complete(1) },
			[]string{"begin j/out/1/0-1", "pre-commit j/out/1/0-1", "begin j/out/1/0-2", "pre-commit j/out/1/0-2", "commit j/out/1/0-1"},
			[]int64{1},
		},
		"a repeated notification commits nothing": {
			func(w *one) { w.write(1); w.snapshot(1); w.complete(1); w.complete(1) },
			[]string{"begin j/out/1/0-1", "pre-commit j/out/1/0-1", "commit j/out/1/0-1"},
			[]int64{1},
		},
		"an older notification after a newer one": {
			func(w *one) {
				w.write(1)
				w.snapshot(1)
				w.write(2)
				w.snapshot(2)
				w.complete(2)
				w.complete(1)
			},
			[]string{
				"begin j/out/1/0-1", "pre-commit j/out/1/0-1", "begin j/out/1/0-2", "pre-commit j/out/1/0-2",
				"commit j/out/1/0-1", "commit j/out/1/0-2",
			},
			[]int64{1, 2},
		},
		"a snapshot that is given up leaves its rows to the next": {
			func(w *one) {
				w.write(1)
				w.snapshot(1)
				w.op.NotifyAborted(1)
				w.write(2)
				w.snapshot(2)
				if len(w.handles) != 2 {
					w.t.Errorf("it holds %q", w.handles)
				}
				w.complete(2)
			},
			[]string{
				"begin j/out/1/0-1", "pre-commit j/out/1/0-1", "begin j/out/1/0-2", "pre-commit j/out/1/0-2",
				"commit j/out/1/0-1", "commit j/out/1/0-2",
			},
			[]int64{1, 2},
		},
		"a pre-commit that fails is made again by the next snapshot": {
			func(w *one) {
				w.write(1)
				w.out.Fault = failNext(txntest.PreCommit, txntest.Before)
				if err := w.barrier(1)(w.t.Context()); !errors.Is(err, txntest.ErrInjected) {
					w.t.Errorf("got %v", err)
				}
				w.snapshot(2)
				w.complete(2)
			},
			[]string{"begin j/out/1/0-1", "pre-commit j/out/1/0-1", "commit j/out/1/0-1"},
			[]int64{1},
		},
		"a commit that fails is made again": {
			func(w *one) {
				w.write(1)
				w.snapshot(1)
				w.out.Fault = failNext(txntest.Commit, txntest.After)
				if err := w.op.NotifyComplete(w.t.Context(), 1); !errors.Is(err, txntest.ErrInjected) {
					w.t.Errorf("got %v", err)
				}
				w.complete(1)
			},
			[]string{"begin j/out/1/0-1", "pre-commit j/out/1/0-1", "commit j/out/1/0-1", "commit j/out/1/0-1 again"},
			[]int64{1},
		},
		"an end aborts what no snapshot holds, and nothing else": {
			func(w *one) { w.write(1); w.snapshot(1); w.write(2); w.must(w.op.Close()) },
			[]string{"begin j/out/1/0-1", "pre-commit j/out/1/0-1", "begin j/out/1/0-2", "abort j/out/1/0-2"},
			nil,
		},
		"snapshots that overlap pre-commit once": {
			func(w *one) {
				w.write(1)
				first := w.barrier(1)
				second := w.barrier(2)
				w.must(second(w.t.Context()))
				w.must(first(w.t.Context()))
				w.complete(1)
			},
			[]string{"begin j/out/1/0-1", "pre-commit j/out/1/0-1", "commit j/out/1/0-1"},
			[]int64{1},
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := open(t, txntest.NewOutside(), contextOf("j", "1", nil))
			tc.do(w)
			w.want(tc.want...)
			if d := cmp.Diff(tc.rows, w.out.Visible()); d != "" {
				t.Errorf("visible rows (-want +got):\n%s", d)
			}
		})
	}
}

// failNext fails the next call of a phase.
func failNext(p txntest.Phase, f txntest.Fault) func(txntest.Phase, int) txntest.Fault {
	done := false
	return func(q txntest.Phase, _ int) txntest.Fault {
		if done || p != q {
			return txntest.None
		}
		done = true
		return f
	}
}

// killed is a job that died with one transaction committed, one in the newest snapshot, one in a snapshot that never completed, and one open.
func killed(t *testing.T) *one {
	t.Helper()
	w := open(t, txntest.NewOutside(), contextOf("j", "1", nil))
	w.write(1)
	w.snapshot(1)
	w.complete(1)
	w.write(2)
	w.snapshot(2)
	restored := w.handles
	w.write(3)
	w.snapshot(3)
	w.write(4)
	w.handles = restored
	w.out.Journal()
	return w
}

func TestOperator_RestoreCommitsWhatTheSnapshotHoldsAndAbortsTheRest(t *testing.T) {
	t.Parallel()
	w := killed(t)
	next := open(t, w.out, contextOf("j", "2", w.handles))
	next.want("commit j/out/1/0-2", "abort leftovers j/out/1/0-3 j/out/1/0-4")
	again := open(t, w.out, contextOf("j", "3", w.handles))
	again.want("commit j/out/1/0-2 again")
	if d := cmp.Diff([]int64{1, 2}, w.out.Visible()); d != "" {
		t.Errorf("visible rows (-want +got):\n%s", d)
	}
}

// What attempts have left that never got to a snapshot is aborted by whichever comes next.
func TestOperator_RestoreAbortsWhatOlderAttemptsLeft(t *testing.T) {
	t.Parallel()
	w := killed(t)
	w.out.Fault = failNext(txntest.AbortLeftovers, txntest.Before)
	second := &one{t: t, out: w.out, op: txn.NewOperator(txntest.NewSink(w.out))}
	if err := second.op.Open(t.Context(), contextOf("j", "2", w.handles)); !errors.Is(err, txntest.ErrInjected) {
		t.Fatalf("got %v", err)
	}
	second.want("commit j/out/1/0-2")
	second.write(5) // a task that hears late of its end
	third := open(t, w.out, contextOf("j", "3", w.handles))
	third.want("begin j/out/2/0-5", "commit j/out/1/0-2 again", "abort leftovers j/out/1/0-3 j/out/1/0-4 j/out/2/0-5")
}

func TestOperator_ForkLeavesTheTransactionsOfItsOriginAlone(t *testing.T) {
	t.Parallel()
	w := killed(t)
	fork := open(t, w.out, contextOf("fork", "1", w.handles))
	fork.want("commit j/out/1/0-2") // the snapshot that it starts from holds it
	fork.write(9)
	fork.snapshot(4)
	fork.want("begin fork/out/1/0-5", "pre-commit fork/out/1/0-5")
	w.complete(3) // the original never noticed
	w.want("commit j/out/1/0-2 again", "commit j/out/1/0-3")
}

// Handles of all old subtasks are committed, each by one new subtask, also by fewer or more of them.
func TestOperator_RescaleCommitsEachHandleOnce(t *testing.T) {
	t.Parallel()
	for _, p := range []int{1, 2, 3, 7} {
		for _, q := range []int{1, 2, 3, 7} {
			out := txntest.NewOutside()
			var handles [][]byte
			for i := range p {
				c := contextOf("j", "1", nil)
				c.Subtask, c.Parallelism = i, p
				w := open(t, out, c)
				w.write(int64(i))
				w.snapshot(1)
				handles = append(handles, w.handles...)
			}
			out.Journal()
			for i := range q {
				c := contextOf("j", "2", handles)
				c.Subtask, c.Parallelism = i, q
				open(t, out, c)
			}
			commits := 0
			for _, l := range out.Journal() {
				if !strings.HasPrefix(l, "commit ") || strings.HasSuffix(l, "again") {
					t.Errorf("%d to %d: %s", p, q, l)
				}
				commits++
			}
			if commits != p || out.Count(txntest.Committed) != p {
				t.Errorf("%d to %d: %d commits", p, q, commits)
			}
		}
	}
}

func TestOperator_ExpiredTransactionIsLoud(t *testing.T) {
	t.Parallel()
	w := killed(t)
	w.out.Expire()
	err := w.op.NotifyComplete(t.Context(), 2)
	if e, ok := errors.AsType[*txn.ExpiredError](err); !ok || e.Transaction != "j/out/1/0-2" {
		t.Errorf("on completion: got %v", err)
	}
	err = txn.NewOperator(txntest.NewSink(w.out)).Open(t.Context(), contextOf("j", "2", w.handles))
	if _, ok := errors.AsType[*txn.ExpiredError](err); !ok || !strings.Contains(err.Error(), "committing what snapshot 1 holds") {
		t.Errorf("on restore: got %v", err)
	}
}

func TestOperator_WithoutSnapshotsCommitsAtTheEnd(t *testing.T) {
	t.Parallel()
	for name, fail := range map[string]bool{"success": false, "failure": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			out := txntest.NewOutside()
			c := contextOf("j", "1", nil)
			wake := make(chan struct{}, 1)
			c.Checkpointed, c.Wake = false, func() { wake <- struct{}{} }
			w := open(t, out, c)
			w.write(1)
			w.write(2)
			if fail {
				out.Fault = failNext(txntest.Commit, txntest.Before)
			}
			st, err := w.op.Finish()
			if st == operator.Paused {
				<-wake
				st, err = w.op.Resume()
			}
			if st != operator.Done || (err != nil) != fail {
				t.Fatalf("status %v, error %v", st, err)
			}
			want := []string{"begin j/out/1/0-1", "pre-commit j/out/1/0-1", "commit j/out/1/0-1"}
			if fail {
				want = want[:2]
			}
			w.want(want...)
			w.must(w.op.Close())
		})
	}
}

func TestCheckTimeout(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		timeout time.Duration
		ok      bool
	}{
		"none": {0, true}, "exactly twice": {6 * time.Minute, true}, "more": {time.Hour, true},
		"a little less": {6*time.Minute - time.Nanosecond, false}, "much less": {time.Second, false},
	}
	for name, tc := range tests {
		err := txn.CheckTimeout(tc.timeout, time.Minute, 2*time.Minute)
		if (err == nil) != tc.ok {
			t.Errorf("%s: got %v", name, err)
		}
		if err != nil && !strings.Contains(err.Error(), "at least 6m0s") {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if got := txn.Outage(10*time.Minute, time.Minute, 2*time.Minute); got != 7*time.Minute {
		t.Errorf("an outage may last %s", got)
	}
}
