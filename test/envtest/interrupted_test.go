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
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
	"github.com/weir-stream/weir/runtime/contract"

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
	tests := map[string]interruption{
		"start": {
			begin: func(*cluster) *streamv1.StreamJob { return nil },
			act:   func(c *cluster) { c.create("parallelism: 2", bucket, checkpointing, dataflow) },
			done:  isRunning,
			end: func(t *testing.T, c *cluster, before *streamv1.StreamJob) {
				t.Helper()
				job := c.running()
				if l := c.storage.lineage("j"); job.Status.Grant != 1 || l.claims != 1 || len(c.storage.started()) != 1 {
					t.Errorf("grant %d, storage holds %+v, started empty %v", job.Status.Grant, l, c.storage.started())
				}
			},
		},
		"upgrade": {
			begin: func(c *cluster) *streamv1.StreamJob { return c.startTwo() },
			act:   func(c *cluster) { c.edit(parallelism(3)) },
			done: func(c *cluster, job *streamv1.StreamJob) bool {
				return isRunning(c, job) && len(c.children(&corev1.ConfigMapList{})) == 1 && len(c.children(&corev1.PodList{})) == 2
			},
			end: func(t *testing.T, c *cluster, before *streamv1.StreamJob) {
				t.Helper()
				checkUpgraded(t, c, before, c.running())
			},
		},
		"suspend": {
			begin: func(c *cluster) *streamv1.StreamJob { return c.startTwo() },
			act:   func(c *cluster) { c.edit(state(streamv1.StateSuspended)) },
			done: func(c *cluster, job *streamv1.StreamJob) bool {
				return has(streamv1.ConditionReady, metav1.ConditionTrue, streamv1.ReasonSuspended)(job) == nil && len(c.children(&corev1.ServiceList{})) == 0
			},
			end: func(t *testing.T, c *cluster, before *streamv1.StreamJob) {
				t.Helper()
				job := c.suspended()
				c.noPods()
				if saved := c.storage.lineage("j").savepoints(); len(saved) != 1 || job.Status.LastSavepoint.Path != saved[0].Path {
					t.Errorf("savepoints %+v, last %+v", saved, job.Status.LastSavepoint)
				}
			},
		},
		"cancel": {
			begin: func(c *cluster) *streamv1.StreamJob { return c.startTwo() },
			act:   func(c *cluster) { c.edit(state(streamv1.StateCancelled)) },
			done: func(c *cluster, job *streamv1.StreamJob) bool {
				return has(streamv1.ConditionReady, metav1.ConditionTrue, streamv1.ReasonCancelled)(job) == nil && len(c.children(&corev1.ServiceList{})) == 0
			},
			end: func(t *testing.T, c *cluster, before *streamv1.StreamJob) {
				t.Helper()
				c.until("the job is cancelled", has(streamv1.ConditionReady, metav1.ConditionTrue, streamv1.ReasonCancelled))
				c.noPods()
				if l := c.storage.lineage("j"); l.final != "Canceled" || len(l.savepoints()) != 0 || len(c.storage.asked("Cancel")) != 1 {
					t.Errorf("storage holds %+v after %v", l, c.storage.asked(""))
				}
			},
		},
		"rollback": {
			begin: func(c *cluster) *streamv1.StreamJob {
				c.startTwo(stableSoon)
				c.storage.set(func(s *script) {
					s.refuse = func(config contract.JobConfig) *contract.Problem {
						if config.Parallelism == 3 {
							return &contract.Problem{Reason: contract.InvalidJob, Message: "three is one too many"}
						}
						return nil
					}
				})
				return c.until("the version is stable", isStable)
			},
			act: func(c *cluster) { c.edit(parallelism(3)) },
			done: func(c *cluster, job *streamv1.StreamJob) bool {
				return isRolledBack(job) == nil && isStable(job) == nil && len(c.children(&corev1.ConfigMapList{})) == 1 && len(c.children(&corev1.PodList{})) == 2
			},
			end: func(t *testing.T, c *cluster, before *streamv1.StreamJob) {
				t.Helper()
				job := c.until("the stable version runs", isRolledBack)
				s, l := &job.Status, c.storage.lineage("j")
				if s.Deployment.Revision != before.Status.Deployment.Revision || s.Grant != 3 || len(l.savepoints()) != 1 || len(c.storage.started()) != 1 ||
					s.Restore.Path != l.savepoints()[0].Path || len(s.History) != 3 {
					t.Errorf("deployment %+v, grant %d, savepoints %+v, started %v, restored from %+v, history %+v",
						s.Deployment, s.Grant, l.savepoints(), c.storage.started(), s.Restore, s.History)
				}
			},
		},
		"delete": {
			begin: func(c *cluster) *streamv1.StreamJob {
				c.create("parallelism: 2", bucket, deleteOnCancel, "deletionPolicy: Savepoint", dataflow)
				return c.running()
			},
			act:  func(c *cluster) { c.delete() },
			done: func(_ *cluster, job *streamv1.StreamJob) bool { return job == nil },
			end: func(t *testing.T, c *cluster, before *streamv1.StreamJob) {
				t.Helper()
				c.gone()
				c.leftovers()
				if l := c.storage.lineage("j"); len(l.savepoints()) != 1 || len(l.checkpoints) != 0 || l.final != "Canceled" {
					t.Errorf("storage holds %+v", l)
				}
			},
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var spared atomic.Bool
			for place := 0; place < most && !spared.Load(); place += wave {
				t.Run(fmt.Sprintf("from %d", place), func(t *testing.T) {
					for k := place; k < place+wave; k++ {
						t.Run(fmt.Sprint(k), func(t *testing.T) {
							t.Parallel()
							if !tc.killedAfter(t, k) {
								spared.Store(true)
							}
						})
					}
				})
			}
			if !spared.Load() {
				t.Errorf("the operator wrote more than %d times", most)
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
}

// killedAfter goes through it with an operator that is killed after n writes and commands, if it needs as many, and another one that
// is not.
func (i interruption) killedAfter(t *testing.T, n int) bool {
	t.Helper()
	c := newCluster(t)
	first := c.operate()
	before := i.begin(c)
	if before != nil {
		first.rests(t)
	}
	first.stop()
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
