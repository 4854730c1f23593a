// SPDX-License-Identifier: Apache-2.0

package checkpoint

import (
	"testing"

	"github.com/weir-stream/weir/runtime/operator"
	"github.com/weir-stream/weir/runtime/snapshot"
)

func TestCheckUnion(t *testing.T) {
	with := func(finished bool) snapshot.SubtaskState {
		return snapshot.SubtaskState{Finished: finished, Lists: []operator.List{{Name: "l", Mode: operator.Union, Entries: [][]byte{{1}}}}}
	}
	gone := snapshot.SubtaskState{Finished: true}
	for name, tc := range map[string]struct {
		subtasks []snapshot.SubtaskState
		ok       bool
	}{
		"all run":                            {[]snapshot.SubtaskState{with(false), with(false)}, true},
		"one ended and has yet to commit":    {[]snapshot.SubtaskState{with(true), with(false)}, true},
		"one gone, one runs":                 {[]snapshot.SubtaskState{gone, with(false)}, false},
		"one gone, one ended":                {[]snapshot.SubtaskState{gone, with(true)}, true},
		"all gone":                           {[]snapshot.SubtaskState{gone, gone}, true},
		"one gone, one runs without entries": {[]snapshot.SubtaskState{gone, {}}, true},
	} {
		t.Run(name, func(t *testing.T) {
			err := checkUnion(&snapshot.OperatorState{Name: "o", Parallelism: len(tc.subtasks), Subtasks: tc.subtasks})
			if (err == nil) != tc.ok {
				t.Errorf("got error %v", err)
			}
		})
	}
}
