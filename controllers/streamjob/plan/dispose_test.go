// SPDX-License-Identifier: Apache-2.0

package plan_test

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
	"github.com/weir-stream/weir/controllers/streamjob/plan"
)

// A pass ends at the first object that can't be made, such as a pod beyond a quota, and writes nothing then. What gives up has to make nothing first.
func TestNext_GivesUpDisposingWhenNoPodCanBeMade(t *testing.T) {
	now := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	began := metav1.NewTime(now.Add(-10 * time.Minute))
	job := &streamv1.StreamJob{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "words", UID: "u", DeletionTimestamp: &began},
		Spec: streamv1.StreamJobSpec{
			Storage:       &streamv1.Storage{S3: &streamv1.S3Storage{Bucket: "bkt"}},
			Checkpointing: &streamv1.Checkpointing{Retention: &streamv1.Retention{OnCancel: streamv1.DeleteOnCancel}},
		},
		Status: streamv1.StreamJobStatus{
			Grant: 2, Job: &streamv1.JobReport{ID: "000011"},
			Deployment: &streamv1.DeploymentReport{Grant: 1, Revision: "r", Ended: streamv1.EndCancelled},
			Operation: &streamv1.OperationReport{
				Type: streamv1.CancelOperation, ID: "cancel-1-2-1", Phase: streamv1.OperationDisposing, StartedAt: metav1.NewMicroTime(began.Time), Attempts: 1,
			},
		},
	}
	for name, stored := range map[string]*plan.Stored{
		"the pod":      {Revision: "r", JobID: "000011", Spec: &job.Spec},
		"the revision": nil,
	} {
		t.Run(name, func(t *testing.T) {
			j := job.DeepCopy()
			for range 10 {
				p := plan.Next(plan.Observation{
					Job: j, Revision: "r", PolicyRevision: "p", Versions: []plan.Version{{Grant: 2, Stored: stored}},
				}, now)
				for _, a := range p.Actions {
					switch a.(type) {
					case plan.RunAgent, plan.Store:
						t.Fatalf("it begins with %T", a)
					case plan.Release:
						return
					}
				}
				j.Status = p.Status
			}
			t.Fatalf("it is not let go: %+v", j.Status.Operation)
		})
	}
}

// What is refused, such as a config map beyond a quota, ends a pass before anything is written: so the time that it may take has to have begun before it is tried.
func TestNext_WritesThatItDisposesBeforeItMakesAnything(t *testing.T) {
	now := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	spec := streamv1.StreamJobSpec{
		Storage:       &streamv1.Storage{S3: &streamv1.S3Storage{Bucket: "bkt"}},
		Checkpointing: &streamv1.Checkpointing{Retention: &streamv1.Retention{OnCancel: streamv1.DeleteOnCancel}},
	}
	cancelled := spec
	cancelled.State = streamv1.StateCancelled
	waiting := &streamv1.OperationReport{
		Type: streamv1.CancelOperation, Phase: streamv1.OperationWaiting, StartedAt: metav1.NewMicroTime(now.Add(-time.Minute)), Attempts: 1,
	}
	tests := map[string]struct {
		spec     streamv1.StreamJobSpec
		deleting bool
		op       *streamv1.OperationReport
	}{
		"a deletion":             {spec: spec, deleting: true},
		"a cancellation":         {spec: cancelled},
		"another try":            {spec: spec, deleting: true, op: waiting},
		"another try, cancelled": {spec: cancelled, op: waiting},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			job := &streamv1.StreamJob{
				ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "words", UID: "u"}, Spec: tc.spec,
				Status: streamv1.StreamJobStatus{
					Grant: 1, Job: &streamv1.JobReport{ID: "000011"}, Operation: tc.op,
					Deployment: &streamv1.DeploymentReport{Grant: 1, Revision: "r", Ended: streamv1.EndStopped},
				},
			}
			if tc.deleting {
				job.DeletionTimestamp = &metav1.Time{Time: now}
			}
			p := plan.Next(plan.Observation{Job: job, Revision: "r", PolicyRevision: "p"}, now)
			for _, a := range p.Actions {
				if s, ok := a.(plan.Store); ok {
					t.Errorf("it stores first: %+v", s)
				}
			}
			if op := p.Status.Operation; op == nil || op.Phase != streamv1.OperationDisposing || p.Next > time.Second {
				t.Errorf("it doesn't begin: %+v, next %v", op, p.Next)
			}
		})
	}
}
