// SPDX-License-Identifier: Apache-2.0

package worker

import (
	"errors"
	"fmt"
	"testing"

	"github.com/weir-stream/weir/runtime/snapshot"
	"github.com/weir-stream/weir/runtime/state"
	"github.com/weir-stream/weir/runtime/task"
)

func TestDamaged_OnlyWhatWasGivenToTheTask(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		err  error
		want bool
	}{
		"a state file":                {fmt.Errorf("restoring keyed state: %w", &state.CorruptError{Path: "f"}), true},
		"a state file, as permanent":  {&task.OperatorError{Operator: "o", Err: &task.FatalError{Err: &state.CorruptError{Path: "f"}}}, true},
		"channel state":               {fmt.Errorf("replaying: %w", &snapshot.CorruptError{Object: "f"}), true},
		"another type of state":       {&task.FatalError{Err: &state.SchemaError{State: "s"}}, false},
		"storage that doesn't answer": {errors.New("no route to host"), false},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := damaged(tc.err); got != tc.want {
				t.Errorf("%v counts as damage: %t, want %t", tc.err, got, tc.want)
			}
		})
	}
}
