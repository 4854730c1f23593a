// SPDX-License-Identifier: Apache-2.0

package envtest

import (
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"

	. "github.com/onsi/gomega"
)

const (
	// most is more writes and commands than anything takes that is interrupted here.
	most = 60
	// wave is how many places are tried at once.
	wave = 7
)

// TestOperator_InterruptedAnywhere kills the operator after each of its writes and commands in turn, and starts another one: what
// comes of it is what comes of an operator that is left alone, with one savepoint at most.
func TestOperator_InterruptedAnywhere(t *testing.T) {
	t.Parallel()
	for name, tc := range interruptions() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tc.everywhere(t, tc.killedAfter)
		})
	}
}

// TestOperator_GoesOnAfterFaults lets writes, commands and reads of the operator fail while it lives on, with what was asked for done or
// not: nothing else comes of it than without. Where there are few writes and commands each fails once, alone: every second one with only its
// answer lost. Where there are many, a third of them fails, each third in a run of its own.
func TestOperator_GoesOnAfterFaults(t *testing.T) {
	t.Parallel()
	const parts, reads = 3, 15
	for name, tc := range interruptions() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			t.Run("reads", func(t *testing.T) {
				t.Parallel()
				if n := tc.goesOn(t, readsFail(reads)); n == 0 && !tc.blind {
					t.Error("no read has failed")
				}
			})
			if tc.few {
				tc.everywhere(t, func(t *testing.T, k int) bool { return tc.goesOn(t, failsOnce(k, k%2 == 1)) > 0 })
				return
			}
			for part := range parts {
				t.Run(fmt.Sprintf("a third, %d", part), func(t *testing.T) {
					t.Parallel()
					if n := tc.goesOn(t, failsOften(part, parts)); n < 2 {
						t.Errorf("only %d calls have failed", n)
					}
				})
			}
		})
	}
}

// interruption is something that an operator is killed in the middle of.
type interruption struct {
	// begin makes what is there before, and returns it.
	begin func(*cluster) *streamv1.StreamJob
	act   func(*cluster)
	// done says that nothing is left to do.
	done func(*cluster, *streamv1.StreamJob) bool
	end  func(t *testing.T, c *cluster, before *streamv1.StreamJob)
	// few says that it takes few writes and commands, blind that it reads nothing that isn't in the cache.
	few, blind bool
}

// everywhere tries place after place, some at once, until one is reached that is past the end.
func (i interruption) everywhere(t *testing.T, try func(t *testing.T, k int) bool) {
	t.Helper()
	var spared atomic.Bool
	for place := 0; place < most && !spared.Load(); place += wave {
		t.Run(fmt.Sprintf("from %d", place), func(t *testing.T) {
			for k := place; k < place+wave; k++ {
				t.Run(fmt.Sprint(k), func(t *testing.T) {
					t.Parallel()
					if !try(t, k) {
						spared.Store(true)
					}
				})
			}
		})
	}
	if !spared.Load() {
		t.Errorf("the operator wrote more than %d times", most)
	}
}

// killedAfter goes through it with an operator that is killed after n writes and commands, if it needs as many, and another one that
// is not.
func (i interruption) killedAfter(t *testing.T, n int) bool {
	t.Helper()
	c, before := i.prepare(t)
	doomed := c.operate(killedAfter(n))
	i.act(c)
	died := doomed.dies(t, func() bool { return i.done(c, c.job()) })
	if died {
		doomed.stop()
		c.operate()
	}
	i.end(t, c, before)
	return died
}

// goesOn goes through it with an operator that has faults, and returns how many of its calls have failed.
func (i interruption) goesOn(t *testing.T, fault func(*operator)) int64 {
	t.Helper()
	c, before := i.prepare(t)
	faulty := c.operate(fault)
	i.act(c)
	c.eventually("nothing is left to do", func() error {
		if !i.done(c, c.job()) {
			return fmt.Errorf("%d calls have failed", faulty.struck())
		}
		return nil
	})
	i.end(t, c, before)
	return faulty.struck()
}

// prepare makes what is there before, with an operator that is stopped when nothing is left to do.
func (i interruption) prepare(t *testing.T) (c *cluster, before *streamv1.StreamJob) {
	t.Helper()
	c = newCluster(t)
	first := c.operate()
	defer first.stop()
	if before = i.begin(c); before != nil {
		first.rests(t)
	}
	return c, before
}

// dies waits until the operator has no write left for what it wants to do; false when there is nothing left to do before.
func (o *operator) dies(t *testing.T, done func() bool) bool {
	t.Helper()
	died := false
	NewWithT(t).Eventually(func() bool {
		select {
		case <-o.dead:
			died = true
		default:
		}
		return died || done()
	}).WithTimeout(patience).WithPolling(20 * time.Millisecond).Should(BeTrue())
	return died
}

func isRunning(_ *cluster, job *streamv1.StreamJob) bool {
	return has(streamv1.ConditionReady, metav1.ConditionTrue, streamv1.ReasonRunning)(job) == nil
}

// TestOperator_TwoAtOnce runs two operators that both believe to lead: what they do is done once.
func TestOperator_TwoAtOnce(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	a, b := c.operate(), c.operate()
	before := c.startTwo()
	c.edit(parallelism(3))
	checkUpgraded(t, c, before, c.running())
	c.edit(func(spec *streamv1.StreamJobSpec) { spec.Savepoint = &streamv1.Savepoint{Trigger: "a"} })
	c.until("the savepoint is complete", func(job *streamv1.StreamJob) error {
		if job.Status.SavepointTrigger != "a" {
			return fmt.Errorf("the operation is %+v", job.Status.Operation)
		}
		return nil
	})
	if saved := c.storage.lineage("j").savepoints(); len(saved) != 2 {
		t.Errorf("there are the savepoints %+v, want one of the upgrade and one that was asked for", saved)
	}
	a.rests(t)
	b.rests(t)
	c.delete()
	c.gone()
	c.leftovers()
}

// TestOperator_EditInTheMiddle edits a StreamJob again while its upgrade is under way: the newest spec wins, and no step is done twice.
func TestOperator_EditInTheMiddle(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		again func(*streamv1.StreamJobSpec)
		end   func(*cluster) *streamv1.StreamJob
	}{
		"another parallelism": {again: parallelism(4), end: (*cluster).running},
		"back again":          {again: parallelism(2), end: (*cluster).running},
		"suspend":             {again: state(streamv1.StateSuspended), end: (*cluster).suspended},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newCluster(t)
			c.operate()
			before := c.startTwo()
			c.storage.set(func(s *script) { s.slow = true })
			c.edit(parallelism(3))
			c.eventually("the savepoint is under way", func() error {
				if len(c.storage.asked("Stop")) == 0 {
					return fmt.Errorf("nobody has asked for it")
				}
				return nil
			})
			c.edit(tc.again)
			c.until("the edit was seen", func(job *streamv1.StreamJob) error {
				if job.Status.ObservedGeneration != 3 {
					return fmt.Errorf("the observed generation is %d", job.Status.ObservedGeneration)
				}
				return nil
			})
			c.storage.set(func(s *script) { s.slow = false })
			job := tc.end(c)
			l := c.storage.lineage("j")
			if job.Status.Job.ID != before.Status.Job.ID || len(c.storage.started()) != 1 || len(l.savepoints()) == 0 {
				t.Errorf("job %+v, savepoints %+v, started empty %v", job.Status.Job, l.savepoints(), c.storage.started())
			}
			if stops := c.storage.asked("Stop j/1 "); len(stops) != 1 {
				t.Errorf("the first version was stopped by %v", stops)
			}
			if want := job.Spec.Parallelism; job.Spec.State != streamv1.StateSuspended && job.Status.Parallelism != want {
				t.Errorf("it runs with parallelism %d, want %d", job.Status.Parallelism, want)
			}
			if job.Spec.State != streamv1.StateSuspended {
				c.eventually("only one version is left", func() error {
					if got := c.children(&appsv1.DeploymentList{}); !slices.Equal(got, []string{fmt.Sprintf("j-%d-coordinator", job.Status.Grant)}) {
						return fmt.Errorf("there are %v", got)
					}
					return nil
				})
			}
		})
	}
}

// TestOperator_UpgradesPastASilentCoordinator goes on from the newest checkpoint when the old coordinator cannot be asked, and says so;
// the old one can do no harm when it comes back.
func TestOperator_UpgradesPastASilentCoordinator(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.operate()
	before := c.startTwo()
	c.storage.change("j", func(p *coordinator) { p.frozen = true })
	c.edit(parallelism(3))
	c.until("it is waited for", func(job *streamv1.StreamJob) error {
		if job.Status.Operation == nil {
			return fmt.Errorf("there is no operation")
		}
		return nil
	})
	c.eventually("the upgrade is complete", func() error {
		c.pass(20 * time.Second)
		return has(streamv1.ConditionReady, metav1.ConditionTrue, streamv1.ReasonRunning)(c.job())
	})
	job := c.job()
	r := job.Status.Restore
	if r.RequestedMode != "Savepoint" || r.EffectiveMode != "LastCheckpoint" || !strings.Contains(r.Path, "/chk-") || r.Reason == "" {
		t.Errorf("restored from %+v", r)
	}
	if job.Status.Job.ID != before.Status.Job.ID || len(c.storage.lineage("j").savepoints()) != 0 || len(c.storage.started()) != 1 {
		t.Errorf("job %+v, storage holds %+v", job.Status.Job, c.storage.lineage("j"))
	}
}

// TestOperator_LostStatus shows that a status that was lost, as after a restore of the StreamJob from a backup, neither starts the job
// empty nor leaves it in pieces: it goes on from its newest state with a grant that is higher than any before.
func TestOperator_LostStatus(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.operate()
	c.startTwo()
	c.edit(parallelism(3))
	before := c.running()
	if err := admin.Status().Patch(t.Context(), before.DeepCopy(), client.RawPatch("application/merge-patch+json", []byte(`{"status":null}`))); err != nil {
		t.Fatal(err)
	}
	c.eventually("the job runs again", func() error {
		c.pass(5 * time.Second)
		job := c.job()
		if job.Status.Grant < before.Status.Grant {
			return fmt.Errorf("the grant is %d", job.Status.Grant)
		}
		return has(streamv1.ConditionReady, metav1.ConditionTrue, streamv1.ReasonRunning)(job)
	})
	job := c.job()
	if job.Status.Job.ID != before.Status.Job.ID || len(c.storage.started()) != 1 {
		t.Errorf("it is job %s, was %s; started empty %v", job.Status.Job.ID, before.Status.Job.ID, c.storage.started())
	}
}
