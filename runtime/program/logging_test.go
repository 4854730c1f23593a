// SPDX-License-Identifier: Apache-2.0

package program

import (
	"bytes"
	"errors"
	"strings"
	"testing"
)

func TestPlainLogger(t *testing.T) {
	tests := map[string]struct {
		verbose int
		want    []string
		not     []string
	}{
		"quiet":   {0, []string{"Row", "Broken"}, []string{"Deploying", "Tracing"}},
		"verbose": {1, []string{"Row", "Broken", "Deploying"}, []string{"Tracing"}},
		"more":    {2, []string{"Row", "Broken", "Deploying", "Tracing"}, nil},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			log := PlainLogger(&out, tc.verbose)
			log.Info("Deploying")
			log.V(1).Info("Tracing")
			log.Error(errors.New("cause"), "Broken")
			log.WithName("worker").WithValues("task", "t/0").WithValues("operator", "out").Info("Row", "key", 1)
			for _, w := range tc.want {
				if !strings.Contains(out.String(), w) {
					t.Errorf("the log lacks %s:\n%s", w, out.String())
				}
			}
			for _, w := range tc.not {
				if strings.Contains(out.String(), w) {
					t.Errorf("the log has %s:\n%s", w, out.String())
				}
			}
		})
	}
}
