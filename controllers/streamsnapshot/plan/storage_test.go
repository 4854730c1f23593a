// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"testing"
	"time"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
)

// TestNextScheduled_KnowsOfStorageByDefault: the storage that the operator's configuration gives a job is as good as one of its own.
func TestNextScheduled_KnowsOfStorageByDefault(t *testing.T) {
	for storage, want := range map[string]bool{"s3://team/jobs": true, "": false} {
		job := scheduled("0 3 * * *", start.Format(time.RFC3339))
		job.Spec.Storage, job.Status.Effective = nil, &streamv1.EffectiveReport{Storage: storage}
		if got := NextScheduled(job, nil, notNeeded, start.Add(25*time.Hour)); got.Create.IsZero() == want || got.Mark.IsZero() {
			t.Errorf("with storage %q: got %+v, want one made: %v", storage, got, want)
		}
	}
}
