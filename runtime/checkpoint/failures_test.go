// SPDX-License-Identifier: Apache-2.0

package checkpoint

import (
	"strconv"
	"strings"
	"testing"
)

// Which failures are one too many: "3!" is a failure of checkpoint 3 that is, "3" one that isn't yet; "s3" a failure of a savepoint, "n3" one for
// a reason that doesn't count, "ok3" a success, "new" another attempt. 0 is a checkpoint that got no id.
func TestFailureManager(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		tolerable int
		events    string
	}{
		"none is tolerable":                       {0, "1!"},
		"more than tolerable":                     {2, "1 2 3!"},
		"a success clears":                        {1, "1 ok2 3 4!"},
		"each id counts once":                     {1, "1 1 1 2!"},
		"each without an id counts":               {1, "0 0!"},
		"not at or below the last success":        {0, "ok5 3 5 6!"},
		"what doesn't count stays out":            {0, "n1 n2 3!"},
		"one that didn't count may count later":   {0, "n1 1!"},
		"savepoints don't count":                  {0, "s1 s2 3!"},
		"another attempt begins anew":             {1, "1 new 2 3!"},
		"an id of the old attempt may come again": {1, "1 new 1 2!"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := NewFailureManager(tc.tolerable)
			for e := range strings.FieldsSeq(tc.events) {
				word, want := strings.CutSuffix(e, "!")
				if word == "new" {
					f.Reset()
					continue
				}
				digits := strings.TrimLeft(word, "snok")
				id, err := strconv.ParseInt(digits, 10, 64)
				if err != nil {
					t.Fatal(err)
				}
				got := false
				switch kind := strings.TrimSuffix(word, digits); kind {
				case "ok":
					f.Succeeded(id)
				case "n":
					got = f.Failed(id, false, ReasonCancelled)
				default:
					got = f.Failed(id, kind == "s", ReasonExpired)
				}
				if got != want {
					t.Fatalf("at %s: one too many is %t, with %d counted", e, got, f.Count())
				}
			}
		})
	}
}

func TestReason_Counts(t *testing.T) {
	t.Parallel()
	want := map[Reason]bool{
		ReasonExpired: true, ReasonDeclined: true, ReasonAsync: true, ReasonFinalize: true,
		ReasonSubsumed: false, ReasonSuspended: false, ReasonShutdown: false, ReasonTaskFailure: false, ReasonCancelled: false,
		ReasonPartialUnion: false,
	}
	for r, counts := range want {
		if r.Counts() != counts {
			t.Errorf("%s counts: %t", r, r.Counts())
		}
	}
}
