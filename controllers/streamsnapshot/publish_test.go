// SPDX-License-Identifier: Apache-2.0

package streamsnapshot

import (
	"testing"
	"time"

	"k8s.io/client-go/tools/events"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
	jobplan "github.com/weir-stream/weir/controllers/streamjob/plan"
)

// TestPublish_SaysTheSameThingOnce: a savepoint that is tried again and again fails with the same words each time.
func TestPublish_SaysTheSameThingOnce(t *testing.T) {
	recorder := events.NewFakeRecorder(10)
	s := &scope{Reconciler: &Reconciler{Recorder: recorder}, snap: &streamv1.StreamSnapshot{}, mem: &memory{}, now: time.Unix(1900000000, 0)}
	failed := jobplan.Event{Type: jobplan.Warning, Reason: "SavepointFailed", Action: "Snapshot", Note: "storage does not answer"}
	for range 5 {
		s.publish([]jobplan.Event{failed})
		s.now = s.now.Add(time.Minute)
	}
	if n := len(recorder.Events); n != 1 {
		t.Errorf("it was said %d times", n)
	}
	failed.Note = "storage refuses the credentials"
	s.publish([]jobplan.Event{failed})
	s.now = s.now.Add(time.Hour)
	s.publish([]jobplan.Event{failed})
	if n := len(recorder.Events); n != 3 {
		t.Errorf("with another cause, and after an hour: %d events, want 3", n)
	}
}
