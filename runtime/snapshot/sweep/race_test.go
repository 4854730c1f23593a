// SPDX-License-Identifier: Apache-2.0

package sweep_test

import (
	"slices"
	"testing"
	"time"

	"github.com/weir-stream/weir/runtime/snapshot"
	"github.com/weir-stream/weir/runtime/snapshot/sweep"
	"github.com/weir-stream/weir/runtime/storage/memstore"
)

// live is a coordinator that goes on while a sweep is under way: each step is one of its calls to storage.
type live struct {
	*bench
	steps []func()
}

// newLive has checkpoint 1 complete, and 2 in flight with 1 as its base, which it began so long ago. The next commit subsumes 1.
func newLive(t *testing.T, began time.Duration) *live {
	l := &live{bench: newBench(t)}
	l.put(jobDir+"shared/a", "a")
	l.put(jobDir+"shared/gone", "g")
	l.commit(1, []string{"p1"}, []string{"a"}, 1)
	l.now = l.now.Add(30*time.Hour - began)
	l.put(jobDir+"shared/b", "b")
	l.now = l.now.Add(began)
	var two, three snapshot.CompletedCheckpoint
	l.steps = []func(){
		func() { two = l.manifest(2, nil, []string{"a", "b"}) },
		func() { l.head.Checkpoints = []snapshot.CompletedCheckpoint{two}; l.swap() },
		func() { l.remove(chkDir(1)+"p1", chkDir(1)+"_metadata") },
		func() { l.put(jobDir+"shared/c", "c") },
		func() { three = l.manifest(3, nil, []string{"b", "c"}) },
		func() { l.head.Checkpoints = []snapshot.CompletedCheckpoint{three}; l.swap() },
		func() { l.remove(chkDir(2)+"_metadata", jobDir+"shared/a") },
	}
	return l
}

func (l *live) remove(keys ...string) {
	l.t.Helper()
	if err := l.store.Delete(l.t.Context(), keys...); err != nil {
		l.t.Fatal(err)
	}
}

// sweepDuring sweeps while the coordinator does its first steps before and its next ones at each call of the sweep, beginning with one. The missing
// files of what the head names in the end are returned.
func (l *live) sweepDuring(before, begin, each int) (missing []string, err error) {
	next := 0
	do := func(n int) {
		for ; n > 0 && next < len(l.steps); n-- {
			l.steps[next]()
			next++
		}
	}
	do(before)
	client := l.mem.Client(memstore.Options{Faults: func(_, _ string, call int) memstore.Fault {
		if call >= begin {
			do(each)
		}
		return memstore.None()
	}})
	_, err = sweep.Sweep(l.t.Context(), client, jobDir, sweep.Options{Now: func() time.Time { return l.now }})
	do(len(l.steps))
	keys := l.mem.Keys()
	for _, f := range []string{"shared/b", "shared/c", "checkpoints/chk-3/_metadata"} {
		if !slices.Contains(keys, jobDir+f) {
			missing = append(missing, f)
		}
	}
	return missing, err
}

// TestSweep_RacesWithACoordinator tries every interleaving of a sweep with the steps of a coordinator that completes one checkpoint begun just within the
// grace, and another.
func TestSweep_RacesWithACoordinator(t *testing.T) {
	t.Parallel()
	swept := 0
	for before := range 8 {
		for begin := range 12 {
			for _, each := range []int{1, 2, 3, 7} {
				l := newLive(t, snapshot.CommitGrace-time.Minute)
				missing, err := l.sweepDuring(before, begin, each)
				if len(missing) > 0 {
					t.Fatalf("steps before %d, from call %d on %d: %v are missing", before, begin, each, missing)
				}
				if err == nil && !slices.Contains(l.mem.Keys(), jobDir+"shared/gone") {
					swept++
				}
			}
		}
	}
	if swept < 100 {
		t.Errorf("only %d sweeps deleted what nothing refers to", swept)
	}
}

// TestSweep_RaceTestCanFail shows that the one above finds a coordinator that commits what is older than the grace.
func TestSweep_RaceTestCanFail(t *testing.T) {
	t.Parallel()
	for begin := range 12 {
		l := newLive(t, sweep.MinGrace+time.Minute)
		if missing, _ := l.sweepDuring(0, begin, 7); len(missing) > 0 {
			return
		}
	}
	t.Error("a file of a checkpoint that was committed too late was never missing")
}
