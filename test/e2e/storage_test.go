// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e_test

import (
	"fmt"
	"strings"
	"testing"

	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
)

// storeFaults are the ways in which object stores fail. Of each, named says whether a condition must name it: a store that is only slow isn't at fault.
func storeFaults() map[string]bool {
	return map[string]bool{"down": true, "denied": true, "full": true, "slow": false}
}

const (
	// slowAnswers is how many requests of an operation a slow store must have held up for the operation to have met it.
	slowAnswers = 3
	// sluggish gives a test the time to see a phase of an operation before it is over.
	sluggish = "slow&delay=400ms"
)

// failing is a scenario whose object store fails in one way.
type failing struct {
	*scenario
	store *store
	mode  string
	named bool
}

// withFaults runs a scenario with each of the faults.
func withFaults(t *testing.T, prefix string, run func(*failing)) {
	t.Helper()
	for mode, named := range storeFaults() {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			s := newScenario(t, prefix+mode)
			run(&failing{scenario: s, store: s.faultyStore(), mode: mode, named: named})
		})
	}
}

// faultyLedger returns a ledger whose storage fails, and which gives up soon.
func (f *failing) faultyLedger(name string) *streamv1.StreamJob {
	job := f.ledger(name)
	job.Spec.Storage.S3.Endpoint = f.store.endpoint
	job.Spec.Upgrade.SavepointTimeout = seconds(6)
	job.Spec.Checkpointing.Timeout = seconds(6)
	return job
}

// TestStorageFaults_NothingIsLostOrStuck has the object store fail during a savepoint, in two phases of an upgrade and during a restore, in each of the ways in
// which object stores fail. Each step must have met the fault and say so, and be done once the store works again.
func TestStorageFaults_NothingIsLostOrStuck(t *testing.T) {
	t.Parallel()
	withFaults(t, "s3-", func(f *failing) {
		job := f.start(f.faultyLedger("ledger"))
		f.duringSavepoint(job.Name)
		f.duringCheck(job.Name)
		f.duringSave(job.Name)
		f.duringRestore(job.Name)
		f.finish(job.Name)
	})
}

// hold waits until what is going on has met the fault: a store that is slow is so for slow, and one that fails for broken.
func (f *failing) hold(name, during string, slow, broken func(*streamv1.StreamJob) string) {
	f.Helper()
	wanted := slow
	if f.named {
		wanted = broken
	}
	says := ""
	// What deletes the checkpoints of a job has a minute, after the half that the job has to end.
	f.awaitWithin(2*stepTimeout, name, "a sign of the fault of the store during "+during, func(job *streamv1.StreamJob) string {
		says = f.says(job)
		return wanted(job)
	})
	n := f.store.met()
	if n == 0 {
		f.Errorf("the store has met no request during %s", during)
	}
	f.Logf("%s during %s: %d requests met it: %s", f.mode, during, n, says)
}

// heldUp wants the store to have held up requests, of the given addresses if there are any, while a job still is as given.
func (f *failing) heldUp(still func(*streamv1.StreamJob) string, from func() []string) func(*streamv1.StreamJob) string {
	return func(job *streamv1.StreamJob) string {
		if missing := still(job); missing != "" {
			return missing
		}
		var addresses []string
		if from != nil {
			if addresses = from(); len(addresses) == 0 {
				return "there is no pod that asks the store"
			}
		}
		if n := f.store.met(addresses...); n < slowAnswers {
			return fmt.Sprintf("the store has held up %d requests", n)
		}
		return ""
	}
}

// agents are the addresses of the agent pods of a job.
func (f *failing) agents(job string) (addresses []string) {
	f.Helper()
	for _, p := range f.podsIn(client.MatchingLabels{streamv1.LabelJob: job, streamv1.LabelComponent: "agent"}) {
		if p.Status.PodIP != "" {
			addresses = append(addresses, p.Status.PodIP)
		}
	}
	return addresses
}

// says is what an operation or, without one, Ready says of the store.
func (f *failing) says(job *streamv1.StreamJob) string {
	if o := job.Status.Operation; o != nil {
		return fmt.Sprintf("%s, phase %s, attempt %d: %s: %s", o.Type, o.Phase, o.Attempts, o.Reason, o.Message)
	}
	return message(job, streamv1.ConditionReady)
}

// inPhase wants an operation of a type to be in a phase.
func inPhase(kind streamv1.OperationType, phase streamv1.OperationPhase) func(*streamv1.StreamJob) string {
	return func(job *streamv1.StreamJob) string {
		if o := job.Status.Operation; o == nil || o.Type != kind || o.Phase != phase {
			return fmt.Sprintf("the operation is %+v, want %s in phase %s", o, kind, phase)
		}
		return ""
	}
}

// operationSays wants an operation of a type to have run into the store, and to say so.
func operationSays(kind streamv1.OperationType) func(*streamv1.StreamJob) string {
	return func(job *streamv1.StreamJob) string {
		if o := job.Status.Operation; o == nil || o.Type != kind || o.Reason == "" || !strings.Contains(o.Message, "s3://") {
			return fmt.Sprintf("the operation is %+v, want %s with a message that names the store", o, kind)
		}
		return ""
	}
}

// conditionSays wants a condition to be False and to name the store.
func conditionSays(condition string) func(*streamv1.StreamJob) string {
	return func(job *streamv1.StreamJob) string {
		c := apimeta.FindStatusCondition(job.Status.Conditions, condition)
		if c == nil || c.Status != metav1.ConditionFalse || !strings.Contains(c.Message, "s3://") {
			return fmt.Sprintf("%s is %+v, want it False with a message that names the store", condition, c)
		}
		return ""
	}
}

// both wants two things.
func both(a, b func(*streamv1.StreamJob) string) func(*streamv1.StreamJob) string {
	return func(job *streamv1.StreamJob) string { return first(a(job), b(job)) }
}

// either wants one of two things.
func either(a, b func(*streamv1.StreamJob) string) func(*streamv1.StreamJob) string {
	return func(job *streamv1.StreamJob) string {
		if a(job) == "" {
			return ""
		}
		return b(job)
	}
}

func (f *failing) duringSavepoint(name string) {
	f.Helper()
	f.store.set(f.mode)
	f.patch(name, `{"spec":{"savepoint":{"trigger":"first"}}}`)
	f.hold(name, "the savepoint", f.heldUp(inPhase(streamv1.SavepointOperation, streamv1.OperationSaving), nil),
		both(operationSays(streamv1.SavepointOperation), either(conditionSays(streamv1.ConditionCheckpointsHealthy), conditionSays(streamv1.ConditionReady))))
	f.store.set("ok")
	f.await(name, "the savepoint", func(job *streamv1.StreamJob) string {
		if job.Status.SavepointTrigger != "first" {
			return fmt.Sprintf("the savepoint isn't taken: %+v", job.Status.Operation)
		}
		return running(job.Generation)(job)
	})
	if got := f.savepoints(); len(got) != 1 {
		f.Errorf("there are %d savepoints, want one: %v", len(got), got)
	}
}

// duringCheck has the store fail before an upgrade begins, so that the check of the new version meets that.
func (f *failing) duringCheck(name string) {
	f.Helper()
	old := f.job(name).Status.Deployment.Grant
	f.store.set(f.mode)
	generation := f.patch(name, `{"spec":{"parallelism":3}}`)
	f.hold(name, "the check of the upgrade",
		f.heldUp(inPhase(streamv1.UpgradeOperation, streamv1.OperationChecking), func() []string { return f.agents(name) }),
		both(operationSays(streamv1.UpgradeOperation), conditionSays(streamv1.ConditionReady)))
	f.wantOldVersion(name, old)
	f.store.set("ok")
	f.awaitWithin(2*stepTimeout, name, "the upgrade", upgraded(generation, 3))
}

// duringSave has the store fail once the savepoint of an upgrade has begun.
func (f *failing) duringSave(name string) {
	f.Helper()
	old := f.job(name).Status.Deployment.Grant
	f.store.set(sluggish)
	generation := f.watchOperation(name, streamv1.OperationSaving, `{"spec":{"parallelism":2}}`, func() { f.store.set(f.mode) })
	f.hold(name, "the savepoint of the upgrade", f.heldUp(inPhase(streamv1.UpgradeOperation, streamv1.OperationSaving), nil),
		both(operationSays(streamv1.UpgradeOperation), conditionSays(streamv1.ConditionReady)))
	f.wantOldVersion(name, old)
	f.store.set("ok")
	f.awaitWithin(2*stepTimeout, name, "the upgrade", upgraded(generation, 2))
}

// wantOldVersion checks that a store that fails has cost nobody the version that runs.
func (f *failing) wantOldVersion(name string, grant int64) {
	f.Helper()
	if job := f.job(name); f.named && job.Status.Deployment.Grant != grant {
		f.Errorf("the old version is gone though the store doesn't work\n%s", describe(job))
	}
}

func (f *failing) duringRestore(name string) {
	f.Helper()
	f.suspend(name)
	f.store.set(f.mode)
	generation := f.patch(name, `{"spec":{"state":"Running"}}`)
	f.hold(name, "the restore", f.heldUp(func(job *streamv1.StreamJob) string {
		return is(job, streamv1.ConditionRunning, metav1.ConditionFalse)
	}, nil), conditionSays(streamv1.ConditionReady))
	f.store.set("ok")
	job := f.awaitWithin(2*stepTimeout, name, "the resumed job", running(generation))
	f.progress(job)
}

// TestStorageFaults_DuringDeletion deletes two jobs while their object store fails in each of its ways: one whose checkpoints go with it, and one that wants a
// savepoint before. Both must say what they wait for, go once the store works again, and leave what their specs say and every row once.
func TestStorageFaults_DuringDeletion(t *testing.T) {
	t.Parallel()
	withFaults(t, "s3-gone-", func(f *failing) {
		plain := f.faultyLedger("plain")
		plain.Spec.Checkpointing.Retention.OnCancel = streamv1.DeleteOnCancel
		saved := f.faultyLedger("saved")
		saved.Spec.DeletionPolicy = streamv1.SavepointOnDeletion
		f.create(plain)
		f.start(saved)
		f.await(plain.Name, "a running job", isReady(1))
		f.await(plain.Name, "the first checkpoint", checkpointed(0))

		f.store.set(f.mode)
		jobs := []*streamv1.StreamJob{plain, saved}
		for _, job := range jobs {
			if err := suite.client.Delete(f.Context(), job); err != nil {
				f.Fatal(err)
			}
		}
		for _, job := range jobs {
			if f.named {
				f.hold(job.Name, "the deletion of "+job.Name, nil, both(operationSays(streamv1.CancelOperation), conditionSays(streamv1.ConditionReady)))
			}
		}
		f.eventually("the store to meet requests of the deletions", func() string {
			if n := f.store.met(); n < 2*slowAnswers {
				return fmt.Sprintf("it has met %d", n)
			}
			return ""
		})
		f.store.set("ok")
		for _, job := range jobs {
			if !f.until(4*stepTimeout, func() bool { return f.job(job.Name) == nil }) {
				f.Fatalf("%s isn't deleted\n%s", job.Name, describe(f.job(job.Name)))
			}
			f.gone(job.Name)
		}
		f.judgeDeleted()
	})
}

// judgeDeleted judges what the deleted jobs have left.
func (f *failing) judgeDeleted() {
	f.Helper()
	if l := f.left(); l.heads != 2 || l.savepoints != 1 {
		f.Errorf("left are %+v, want two heads and the savepoint that was asked for", l)
	}
	for _, name := range f.list(f.ns + "/state") {
		if strings.HasPrefix(name, f.ns+"/plain/") && strings.HasSuffix(name, "/_metadata") {
			f.Errorf("checkpoint %s of the job whose checkpoints were to go is left", name)
		}
	}
	f.judge("plain")
	f.judgeTotals("saved", f.judge("saved"))
}
