// SPDX-License-Identifier: Apache-2.0

package plan_test

import (
	"testing"
	"time"

	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
	"github.com/weir-stream/weir/controllers/streamjob/plan"
)

func TestNext_DoesNotStartWithoutTheSnapshotThatItNames(t *testing.T) {
	now := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	job := &streamv1.StreamJob{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "fork", UID: "u", Generation: 1},
		Spec: streamv1.StreamJobSpec{
			Storage:     &streamv1.Storage{S3: &streamv1.S3Storage{Bucket: "bkt"}},
			RestoreFrom: &streamv1.RestoreFrom{Snapshot: "before"},
		},
	}
	o := plan.Observation{
		Job: job, Revision: "r", PolicyRevision: "p",
		RestoreTrouble: &plan.Trouble{Reason: streamv1.ReasonRestoreNotFound, Message: "StreamSnapshot before does not exist: create it"},
	}
	p := plan.Next(o, now)
	c := apimeta.FindStatusCondition(p.Status.Conditions, streamv1.ConditionStalled)
	if p.Status.Deployment != nil || len(p.Actions) != 0 || c == nil || c.Status != metav1.ConditionTrue || c.Reason != streamv1.ReasonRestoreNotFound {
		t.Errorf("without it: %+v, %+v", p.Actions, p.Status)
	}
	o.RestoreTrouble = nil
	if p := plan.Next(o, now); p.Status.Deployment == nil || p.Status.Restore.RequestedMode != "RestoreFrom" {
		t.Errorf("with it: %+v", p.Status)
	}
	// A job that has state goes on with that, whatever has become of the snapshot.
	o.RestoreTrouble = &plan.Trouble{Reason: streamv1.ReasonRestoreNotFound}
	job.Status.Job = &streamv1.JobReport{ID: "0123456789"}
	job.Status.Deployment = &streamv1.DeploymentReport{Grant: 1, Revision: "r", Ended: streamv1.EndStopped}
	if p := plan.Next(o, now); p.Status.Deployment.Grant != 1 || p.Status.Grant != 1 {
		t.Errorf("with state: %+v", p.Status)
	}
}
