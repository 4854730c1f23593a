// SPDX-License-Identifier: Apache-2.0

package jobconfig

import (
	"strings"
	"testing"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
)

func TestParseSchedule(t *testing.T) {
	t.Parallel()
	for _, good := range []string{"0 3 * * *", "*/5 8-18 * * 1-5", "0 0 1 JAN,JUL *", "0 0 29 2 *"} {
		if _, err := ParseSchedule(good); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	for _, bad := range []string{"", "0 3 * *", "61 * * * *", "@daily", "CRON_TZ=Europe/Berlin 0 3 * * *", "TZ=UTC 0 3 * * *", "0 3 * * * *", "0 0 31 2 *"} {
		if _, err := ParseSchedule(bad); err == nil {
			t.Errorf("%s was taken", bad)
		}
	}
}

func TestCheck_Schedule(t *testing.T) {
	t.Parallel()
	job := &streamv1.StreamJob{Spec: streamv1.StreamJobSpec{Savepoint: &streamv1.Savepoint{Schedule: "0 25 * * *"}}}
	if got := Check(job); len(got) != 1 || !strings.HasPrefix(got[0], "spec.savepoint.schedule: ") || !strings.Contains(got[0], "UTC") {
		t.Errorf("got %q", got)
	}
	job.Spec.Savepoint.Schedule = "0 23 * * *"
	if got := Check(job); len(got) != 0 {
		t.Errorf("got %q", got)
	}
}
