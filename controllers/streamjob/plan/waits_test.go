// SPDX-License-Identifier: Apache-2.0

package plan_test

import (
	"strings"
	"testing"
	"time"

	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
	"github.com/weir-stream/weir/controllers/streamjob/plan"
	"github.com/weir-stream/weir/runtime/contract"
)

// Whatever a job waits for without an end, a condition says what that is.
func TestNext_NamesWhatItWaitsFor(t *testing.T) {
	now := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	long := metav1.NewMicroTime(now.Add(-time.Hour))
	spec := streamv1.StreamJobSpec{Parallelism: 2, Storage: &streamv1.Storage{S3: &streamv1.S3Storage{Bucket: "bkt"}}}
	suspended := spec
	suspended.State = streamv1.StateSuspended
	discarding := spec
	discarding.RestartNonce, discarding.Upgrade = "n", &streamv1.Upgrade{Mode: streamv1.UpgradeStateless, DiscardState: "a"}
	cancelled := spec
	cancelled.State = streamv1.StateCancelled
	unreachable := &plan.Engine{Grant: 1, UnreachableSince: now.Add(-time.Minute), Error: "i/o timeout"}
	lost := &plan.Engine{Grant: 1, UnreachableSince: now.Add(-time.Minute), Error: "i/o timeout", Status: &contract.JobStatus{State: contract.JobRunning, JobID: "000011"}}
	tooFew := &plan.Engine{Grant: 1, Status: &contract.JobStatus{State: contract.JobWaiting, JobID: "000011", SlotsNeeded: 4, SlotsOffered: 2}}
	starting := &streamv1.OperationReport{Type: streamv1.UpgradeOperation, ID: "upgrade-1-2-1", Phase: streamv1.OperationStarting, StartedAt: long, PhaseStartedAt: long, Attempts: 1}
	rollingBack := &streamv1.OperationReport{Type: streamv1.RollbackOperation, ID: "rollback-1-2-1", Phase: streamv1.OperationStarting, StartedAt: long, PhaseStartedAt: long, Attempts: 1}
	fencing := func(of streamv1.OperationType) *streamv1.OperationReport {
		return &streamv1.OperationReport{Type: of, ID: "x-1-2-1", Phase: streamv1.OperationFencing, StartedAt: long, PhaseStartedAt: long, Attempts: 1, Generation: 1, Message: "no savepoint"}
	}
	pullFails := &plan.Trouble{Reason: streamv1.ReasonImagePullFailed, Message: "image weir:9 is not there"}
	tests := map[string]struct {
		spec    streamv1.StreamJobSpec
		op      *streamv1.OperationReport
		engine  *plan.Engine
		agent   *plan.Trouble
		reason  string
		names   string
		stalled bool
	}{
		"a coordinator that was never heard":       {spec: spec, engine: unreachable, reason: streamv1.ReasonCoordinatorUnreachable, names: "i/o timeout"},
		"a coordinator that is not heard any more": {spec: spec, engine: lost, reason: streamv1.ReasonCoordinatorUnreachable, names: "i/o timeout"},
		"workers": {spec: spec, engine: tooFew, reason: streamv1.ReasonWaitingForWorkers, names: "2 of 4"},
		"upgrade: a coordinator that was never heard":       {spec: spec, op: starting, engine: unreachable, reason: streamv1.ReasonUpgrading, names: "i/o timeout"},
		"upgrade: a coordinator that is not heard":          {spec: spec, op: starting, engine: lost, reason: streamv1.ReasonUpgrading, names: "i/o timeout"},
		"upgrade: workers":                                  {spec: spec, op: starting, engine: tooFew, reason: streamv1.ReasonUpgrading, names: "2 of 4"},
		"rollback: workers":                                 {spec: spec, op: rollingBack, engine: tooFew, reason: streamv1.ReasonRollingBack, names: "2 of 4"},
		"suspension: an agent pod that can't be pulled":     {spec: suspended, op: fencing(streamv1.SuspendOperation), engine: lost, agent: pullFails, reason: streamv1.ReasonImagePullFailed, names: "weir:9", stalled: true},
		"cancellation: an agent pod that can't be pulled":   {spec: cancelled, op: fencing(streamv1.CancelOperation), engine: lost, agent: pullFails, reason: streamv1.ReasonImagePullFailed, names: "weir:9", stalled: true},
		"discarding upgrade: an agent that can't be pulled": {spec: discarding, op: fencing(streamv1.UpgradeOperation), engine: lost, agent: pullFails, reason: streamv1.ReasonImagePullFailed, names: "weir:9", stalled: true},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			job := &streamv1.StreamJob{
				ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "words", UID: "u", Generation: 1}, Spec: tc.spec,
				Status: streamv1.StreamJobStatus{
					Grant: 2, Job: &streamv1.JobReport{ID: "000011"}, Operation: tc.op, Restore: &streamv1.RestoreReport{},
					Deployment: &streamv1.DeploymentReport{Grant: 1, Revision: "r"},
				},
			}
			if tc.op != nil && tc.op.Type == streamv1.RollbackOperation {
				job.Status.Rollback = &streamv1.RollbackReport{FromRevision: "r2", ToRevision: "r", Grant: 1}
			}
			o := plan.Observation{
				Job: job, Revision: "r", PolicyRevision: "p", Engine: tc.engine,
				Versions: []plan.Version{{Grant: 1, Exists: true, Stored: &plan.Stored{Revision: "r", PolicyRevision: "p", JobID: "000011", Spec: &spec}, Coordinator: []plan.Pod{{Name: "c"}}}},
			}
			for range 2 { // the first one makes the agent pod
				p := plan.Next(o, now)
				for _, a := range p.Actions {
					if run, ok := a.(plan.RunAgent); ok {
						o.Agents = []plan.Agent{{Name: run.Name, Trouble: tc.agent}}
					}
				}
				if tc.agent != nil && len(o.Agents) == 0 {
					t.Fatalf("no agent pod is made: %+v", p.Actions)
				}
				job.Status = p.Status
			}
			ready := apimeta.FindStatusCondition(job.Status.Conditions, streamv1.ConditionReady)
			if ready.Reason != tc.reason || !strings.Contains(ready.Message, tc.names) || apimeta.IsStatusConditionTrue(job.Status.Conditions, streamv1.ConditionStalled) != tc.stalled {
				t.Errorf("Ready is %s %s: %s; want %s, a word of %q and Stalled %t", ready.Status, ready.Reason, ready.Message, tc.reason, tc.names, tc.stalled)
			}
			if c := apimeta.FindStatusCondition(job.Status.Conditions, streamv1.ConditionReconciling); tc.stalled && (c.Status != metav1.ConditionFalse || c.Reason != tc.reason) {
				t.Errorf("Stalled is True with %s, and Reconciling is %s with %s", tc.reason, c.Status, c.Reason)
			}
			if tc.agent != nil && (job.Status.Operation == nil || job.Status.Operation.Message != "no savepoint") {
				t.Errorf("why it is fenced is forgotten: %+v", job.Status.Operation)
			}
		})
	}
}
