// SPDX-License-Identifier: Apache-2.0

package resources

import (
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/util/validation"
)

func TestName_IsShortAndUnique(t *testing.T) {
	long := strings.Repeat("long-job-", 4) + "name" // 40 characters
	jobs := []string{"a", "clicks", "clicks-1", long, long[:39] + "f", strings.Repeat("x", 63), strings.Repeat("x", 62) + "y"}
	grants := []int64{1, 2, 12, 999_999_999, math.MaxInt64 - 1, math.MaxInt64}
	suffixes := []string{"", CoordinatorComponent, WorkerComponent, "check-0a1b2c3d"}
	seen := map[string]string{}
	for _, job := range jobs {
		for _, grant := range grants {
			for _, suffix := range suffixes {
				name := Name(job, grant, suffix)
				if len(name) > MaxNameLength {
					t.Errorf("%s has %d characters", name, len(name))
				}
				if problems := validation.IsDNS1035Label(name); len(problems) > 0 {
					t.Errorf("%s: %v", name, problems)
				}
				of := strings.Join([]string{job, suffix}, "/")
				if other, ok := seen[name]; ok {
					t.Errorf("%s is the name for %s and %s", name, other, of)
				}
				seen[name] = of
				if again := Name(job, grant, suffix); again != name {
					t.Errorf("%s, and then %s", name, again)
				}
			}
		}
	}
}

func TestName_TellsJobAndGrant(t *testing.T) {
	long := strings.Repeat("x", 40)
	tests := map[string]struct {
		job    string
		grant  int64
		suffix string
		want   string
	}{
		"no suffix":               {"clicks", 7, "", "clicks-7"},
		"suffix":                  {"clicks", 7, "worker", "clicks-7-worker"},
		"as long as allowed":      {strings.Repeat("x", 39), 1, "xxxxxxxxxx", strings.Repeat("x", 39) + "-1-xxxxxxxxxx"},
		"one too long":            {long, 1, "xxxxxxxxxx", strings.Repeat("x", 30) + "-9ae0221d-1-xxxxxxxxxx"},
		"no dash before the hash": {strings.Repeat("x", 26) + "--" + strings.Repeat("y", 12), 1, "xxxxxxxxxxxx", strings.Repeat("x", 26) + "-b47ce5b3-1-xxxxxxxxxxxx"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			if got := Name(tc.job, tc.grant, tc.suffix); got != tc.want {
				t.Errorf("got %s, want %s", got, tc.want)
			}
		})
	}
}

func TestLabels_AreValidForTheLargestGrant(t *testing.T) {
	got := Labels(strings.Repeat("x", 40), math.MaxInt64, CoordinatorComponent)
	want := map[string]string{
		"stream.weir.dev/job":       strings.Repeat("x", 40),
		"stream.weir.dev/grant":     "9223372036854775807",
		"stream.weir.dev/component": "coordinator",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for key, value := range got {
		if problems := append(validation.IsQualifiedName(key), validation.IsValidLabelValue(value)...); len(problems) > 0 {
			t.Errorf("%s=%s: %v", key, value, problems)
		}
	}
}

func TestLabels_OfNoComponentAreThoseOfTheGrant(t *testing.T) {
	want := map[string]string{"stream.weir.dev/job": "clicks", "stream.weir.dev/grant": "2"}
	if diff := cmp.Diff(want, Labels("clicks", 2, "")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
