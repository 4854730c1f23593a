// SPDX-License-Identifier: Apache-2.0

package simtest

import (
	"testing"
	"time"
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
