// SPDX-License-Identifier: Apache-2.0

package streamjob

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/client-go/tools/events"

	"github.com/weir-stream/weir/controllers/streamjob/plan"
)

func TestPublish_SaysTheSameThingOnce(t *testing.T) {
	failed := plan.Event{Type: plan.Warning, Reason: "SavepointFailed", Action: "Upgrade", Note: "storage does not answer"}
	otherwise := plan.Event{Type: plan.Warning, Reason: "SavepointFailed", Action: "Upgrade", Note: "storage refuses the credentials"}
	deploying := plan.Event{Type: plan.Normal, Reason: "Deploying", Action: "Deploy", Note: "Deploying grant 2 of the job"}
	suspended := plan.Event{Type: plan.Normal, Reason: "Suspended", Action: "Suspend", Note: "The job is suspended"}
	misfit := func(id string) plan.Event {
		return plan.Event{Type: plan.Warning, Reason: "IncompatibleState", Action: plan.Reconcile, Note: "checkpoint " + id + " doesn't fit"}
	}
	type step struct {
		after time.Duration
		event plan.Event
	}
	tests := map[string]struct {
		steps []step
		want  []string
	}{
		"a warning that comes back with every try": {
			[]step{{0, failed}, {time.Minute, failed}, {time.Minute, failed}},
			[]string{"Warning SavepointFailed storage does not answer"},
		},
		"a warning between whose tries something else is said": {
			[]step{{0, failed}, {time.Minute, deploying}, {time.Minute, failed}},
			[]string{"Warning SavepointFailed storage does not answer", "Normal Deploying Deploying grant 2 of the job"},
		},
		"a warning that lasts": {
			[]step{{0, failed}, {9 * time.Minute, failed}, {time.Minute, failed}},
			[]string{"Warning SavepointFailed storage does not answer", "Warning SavepointFailed storage does not answer"},
		},
		"another cause": {
			[]step{{0, failed}, {time.Second, otherwise}, {time.Second, failed}},
			[]string{
				"Warning SavepointFailed storage does not answer", "Warning SavepointFailed storage refuses the credentials",
				"Warning SavepointFailed storage does not answer",
			},
		},
		"a trouble that each checkpoint has": {
			[]step{{0, misfit("5")}, {time.Minute, misfit("17")}, {time.Minute, misfit("a5")}},
			[]string{"Warning IncompatibleState checkpoint 5 doesn't fit", "Warning IncompatibleState checkpoint a5 doesn't fit"},
		},
		"something that happens twice": {
			[]step{{0, suspended}, {time.Second, deploying}, {time.Second, suspended}},
			[]string{"Normal Suspended The job is suspended", "Normal Deploying Deploying grant 2 of the job", "Normal Suspended The job is suspended"},
		},
		"the same thing twice in a row": {
			[]step{{0, suspended}, {time.Second, suspended}},
			[]string{"Normal Suspended The job is suspended"},
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			recorder := events.NewFakeRecorder(10)
			s := &scope{Reconciler: &Reconciler{Recorder: recorder}, job: deployed(), mem: &memory{}, now: time.Unix(1900000000, 0)}
			for _, step := range tc.steps {
				s.now = s.now.Add(step.after)
				s.publish([]plan.Event{step.event})
			}
			var got []string
			for len(recorder.Events) > 0 {
				got = append(got, <-recorder.Events)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("published (-want +got):\n%s", diff)
			}
		})
	}
}
