// SPDX-License-Identifier: Apache-2.0

package jobconfig

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-stream/weir/controllers/jobconfig/rulestest"
)

func TestValidate_Rules(t *testing.T) {
	t.Parallel()
	for name, tc := range rulestest.Cases() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, accepted := range tc.Accept {
				if _, err := Validate(t.Context(), []byte(accepted)); err != nil {
					t.Errorf("refused:\n%s\n%v", accepted, err)
				}
			}
			if diff := cmp.Diff(tc.Want, problemsOf(t, tc.Reject)); diff != "" {
				t.Errorf("problems of\n%s\n(-want +got):\n%s", tc.Reject, diff)
			}
		})
	}
}

// problemsOf returns the problems for which a file is refused; it must be refused.
func problemsOf(t *testing.T, file string) []string {
	t.Helper()
	_, err := Validate(t.Context(), []byte(file))
	invalid, ok := errors.AsType[*InvalidError](err)
	if !ok {
		t.Fatalf("Validate returned %v, want an InvalidError for\n%s", err, file)
	}
	return invalid.Problems
}

// TestValidate_EveryRuleHasACase fails when a rule is added to the API without an accepted and a rejected case.
func TestValidate_EveryRuleHasACase(t *testing.T) {
	t.Parallel()
	s, err := streamJobs()
	if err != nil {
		t.Fatal(err)
	}
	shown := []string{}
	for name, tc := range rulestest.Cases() {
		if len(tc.Accept) == 0 {
			t.Errorf("case %q accepts nothing", name)
		}
		shown = append(shown, tc.Want...)
	}
	for _, rule := range rulesOf(s.structural) {
		if !slices.ContainsFunc(shown, func(problem string) bool { return strings.HasSuffix(problem, ": "+rule.Message) }) {
			t.Errorf("no rejected case for the rule %q", rule.Message)
		}
	}
}
