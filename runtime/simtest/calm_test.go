// SPDX-License-Identifier: Apache-2.0

package simtest

import (
	"testing"
	"time"

	"github.com/weir-stream/weir/runtime/contract"
)

// A run fails when its job takes longer than its bound, which begins when the last fault is over.
func TestCheckLimits_CountsFromTheLastFault(t *testing.T) {
	t.Parallel()
	tests := map[string]func(w *world){
		"faults":        func(w *world) { w.faults.until = start.Add(time.Minute) },
		"an outage":     func(w *world) { w.faults.until, w.outage = start.Add(time.Second), start.Add(time.Minute) },
		"a task's work": func(w *world) { w.faults.until, w.slowed = start.Add(time.Second), start.Add(time.Minute) },
	}
	for name, disturb := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t.Context(), 1, Options{})
			w.version = &version{}
			disturb(w)
			w.clock.now = start.Add(time.Minute + w.calmLimit())
			if w.checkLimits(); w.failure != nil {
				t.Errorf("within its bound: %v", w.failure)
			}
			w.clock.now = w.clock.now.Add(1)
			if w.checkLimits(); w.failure == nil {
				t.Error("the end of the bound wasn't noticed")
			}
		})
	}
}

// The bound grows with the work of the scenario.
func TestWork_IsThatOfTheBusiestOperator(t *testing.T) {
	t.Parallel()
	s := &scenario{rowsPerKey: 10, nodes: []*node{
		{kind: sourceNode, keys: []int64{1, 2}, source: &sourceSpec{pause: 60 * time.Millisecond}},
		{kind: sourceNode, keys: []int64{3}, source: &sourceSpec{pause: 90 * time.Millisecond}},
		{kind: counterNode, keys: []int64{1, 2, 3}},
	}}
	if got, want := s.work(2*time.Millisecond), 30*2*time.Millisecond+20*10*time.Millisecond; got != want {
		t.Errorf("got %v, want %v", got, want)
	}
}

// A job whose checkpoints have less time than they take ends all the same, once its user has given them more.
func TestGiveTime_LetsJobsEndWhoseCheckpointsExpire(t *testing.T) {
	t.Parallel()
	ended := 0
	for seed := uint64(1); ended < 3; seed++ {
		w := newWorld(t.Context(), seed, Options{})
		if s := w.scenario; s.rots != "" || s.rare || s.endless || s.deletes || s.volatile || s.rewinds {
			continue
		}
		w.scenario.timeout = 5 * time.Millisecond // no barrier goes through a graph, and no file is written, in that time
		w.run()
		if w.failure != nil {
			t.Errorf("seed %d: %v", seed, w.failure)
		}
		if w.relaxed.IsZero() {
			t.Errorf("seed %d: nobody gave its checkpoints time", seed)
		}
		ended++
	}
}

// Checkpoints that have time enough aren't given more, nor are they twice.
func TestGiveTime_OnlyWhereItLacks(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		arrange func(w *world)
		want    bool
	}{
		"they expire, and may take longer": {func(*world) {}, true},
		"they have been given time":        {func(w *world) { w.relaxed = start.Add(time.Second) }, false},
		"they have time enough": {func(w *world) {
			w.version.config.Checkpointing.Timeout = contract.Duration(w.snapshotLimit())
		}, false},
		"the job failed before it was left alone": {func(w *world) { w.slowed = w.clock.now }, false},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t.Context(), 1, Options{})
			w.scenario.timeout = 5 * time.Millisecond
			w.begin()
			for w.version.leads == nil || !w.version.leads.lead || !w.expires(w.version.leads) || w.faulty() {
				if !w.clock.step() || w.failure != nil {
					t.Fatalf("no checkpoint made the job fail: %v", w.failure)
				}
			}
			tc.arrange(w)
			if got := w.giveTime(); got != tc.want {
				t.Errorf("more time: %v, want %v", got, tc.want)
			}
		})
	}
}
