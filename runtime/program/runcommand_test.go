// SPDX-License-Identifier: Apache-2.0

package program

import (
	"errors"
	"io"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-stream/weir/runtime/contract"
	"github.com/weir-stream/weir/runtime/graph"
)

// TestRunCommand_HandsArgumentsToTheJob shows that the job finds what follows --, and that nothing else is taken for an argument of it.
func TestRunCommand_HandsArgumentsToTheJob(t *testing.T) {
	errEnough := errors.New("enough")
	tests := map[string]struct {
		args, want []string
		wantErr    string
	}{
		"none":             {},
		"after --":         {args: []string{"--parallelism", "2", "--", "--keys", "7", "x"}, want: []string{"--keys", "7", "x"}},
		"nothing behind":   {args: []string{"--"}},
		"without --":       {args: []string{"x"}, wantErr: `unknown argument "x": arguments of the job follow --`},
		"before and after": {args: []string{"x", "--", "y"}, wantErr: `unknown argument "x": arguments of the job follow --`},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			var got []string
			built := false
			c := Command{Name: "test", Defaults: &contract.JobConfig{Namespace: "default", Name: "test"}, Build: func(cfg contract.JobConfig) (*graph.Graph, error) {
				got, built = cfg.Args, true
				return nil, errEnough
			}}
			cmd := c.runCommand(nil)
			cmd.SetArgs(append([]string{}, tc.args...))
			cmd.SetOut(io.Discard)
			cmd.SetErr(io.Discard)
			err := cmd.ExecuteContext(t.Context())
			if tc.wantErr != "" {
				if err == nil || err.Error() != tc.wantErr || built {
					t.Fatalf("error %v, built: %t; want %s", err, built, tc.wantErr)
				}
				return
			}
			if !built || err == nil {
				t.Fatalf("error %v, built: %t; want that of the job's description", err, built)
			}
			if d := cmp.Diff(tc.want, got); d != "" {
				t.Errorf("arguments (-want +got):\n%s", d)
			}
		})
	}
}
