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

// A node that is busy with other pods is no reason to change anything, however long it takes. The message says what is waited for.
func TestNext_APodThatItsNodeHasNotStartedIsReconciling(t *testing.T) {
	now := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	const waits = "node node-1 has not started it yet"
	job := &streamv1.StreamJob{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "words", UID: "u", Generation: 1},
		Status: streamv1.StreamJobStatus{
			Grant: 1, Job: &streamv1.JobReport{ID: "000011"}, Deployment: &streamv1.DeploymentReport{Grant: 1, Revision: "r", Generation: 1},
		},
	}
	version := plan.Version{
		Grant: 1, Exists: true, Stored: &plan.Stored{Revision: "r", PolicyRevision: "p", Generation: 1, JobID: "000011", Spec: &job.Spec},
		Coordinator: []plan.Pod{{Name: "words-1-coordinator", Waits: waits}}, Workers: []plan.Pod{{Name: "words-1-worker-0", Waits: waits}},
	}
	o := plan.Observation{Job: job, Revision: "r", PolicyRevision: "p", Versions: []plan.Version{version}}
	check := func(reason, message string) {
		t.Helper()
		p := plan.Next(o, now)
		if stalled := apimeta.FindStatusCondition(p.Status.Conditions, streamv1.ConditionStalled); stalled.Status != metav1.ConditionFalse {
			t.Errorf("it is stalled: %+v", stalled)
		}
		c := apimeta.FindStatusCondition(p.Status.Conditions, streamv1.ConditionReconciling)
		if c.Status != metav1.ConditionTrue || c.Reason != reason || !strings.Contains(c.Message, message) {
			t.Errorf("got %+v, want %s with %q in it", c, reason, message)
		}
	}
	check(streamv1.ReasonStarting, "; pod words-1-coordinator: "+waits)

	o.Versions[0].Coordinator[0].Waits = ""
	o.Engine = &plan.Engine{Grant: 1, Status: &contract.JobStatus{State: contract.JobWaiting, SlotsNeeded: 1}}
	check(streamv1.ReasonWaitingForWorkers, "0 of 1 worker slots are there; pod words-1-worker-0: "+waits)

	job.Status.Operation = &streamv1.OperationReport{Type: streamv1.UpgradeOperation, ID: "x", Phase: streamv1.OperationStarting, StartedAt: metav1.NewMicroTime(now)}
	check(streamv1.ReasonUpgrading, "The new version is being started; pod words-1-worker-0: "+waits)
}
