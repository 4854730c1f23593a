// SPDX-License-Identifier: Apache-2.0

package simtest

import (
	"fmt"
	"testing"
)

// The first n checkpoints of a job fail, because no task can write its part. A job that tolerates n goes on without a restart, one that tolerates n-1 starts again, once; both
// end with the output of a sequential run.
func TestTolerance_OfAsManyFailuresAndOfOneLess(t *testing.T) {
	t.Parallel()
	seed := lifeOf(t, true)
	clean := plainLife(t, seed)
	clean.runFirst()
	for n := 1; n <= 3; n++ {
		for _, tolerable := range []int{n, n - 1} {
			t.Run(fmt.Sprintf("%d fail, %d are tolerated", n, tolerable), func(t *testing.T) {
				t.Parallel()
				w := plainLife(t, seed)
				w.scenario.tolerable, w.calls.unwritten = &tolerable, int64(n)
				w.runFirst()
				if w.failure != nil || w.finished == 0 {
					t.Fatalf("the job came to its end: %v, with %v", w.finished > 0, w.failure)
				}
				if got, want := w.restores-clean.restores, n-tolerable; got != want {
					t.Errorf("the job was restarted %d times, want %d", got, want)
				}
				if s := w.version.leads.machine.Status(w.version.leads.now()).Checkpoints; s.Failed < int64(n) || w.checkpoints == 0 {
					t.Errorf("%d checkpoints failed and %d completed, want %d that fail", s.Failed, w.checkpoints, n)
				}
			})
		}
	}
}

// runFirst lets everything happen up to the end of the first version.
func (w *world) runFirst() {
	w.begin()
	for w.failure == nil && w.finished == 0 && w.clock.step() {
		w.checkLimits()
	}
}
