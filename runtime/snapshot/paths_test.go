// SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"strings"
	"testing"

	"github.com/weir-stream/weir/runtime/state"
)

func TestFileKey_LeadsToTheFile(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ dir, file, want string }{
		"own":           {"jobs/j/checkpoints/chk-7/", "a", "jobs/j/checkpoints/chk-7/a"},
		"no slash":      {"jobs/j/checkpoints/chk-7", "a", "jobs/j/checkpoints/chk-7/a"},
		"shared":        {"jobs/j/checkpoints/chk-7/", SharedPrefix + "a", "jobs/j/shared/a"},
		"without a job": {"checkpoints/chk-7", SharedPrefix + "a", "shared/a"},
		"no directory":  {"", "part/a", "part/a"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := FileKey(tc.dir, tc.file); got != tc.want {
				t.Errorf("key is %q, want %q", got, tc.want)
			}
		})
	}
}

func TestValidFile_SharedFiles(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		file state.File
		want string
	}{
		"own":                {state.File{Path: "a"}, ""},
		"own index":          {state.File{Path: "a", Index: true}, ""},
		"shared":             {state.File{Path: SharedPrefix + "a", Shared: true}, ""},
		"shared, unmarked":   {state.File{Path: SharedPrefix + "a"}, "if, and only if"},
		"marked, not shared": {state.File{Path: "a", Shared: true}, "if, and only if"},
		"shared index":       {state.File{Path: SharedPrefix + "a", Shared: true, Index: true}, "can't be shared"},
		"below":              {state.File{Path: SharedPrefix + "x/a", Shared: true}, "right below"},
		"nothing":            {state.File{Path: SharedPrefix, Shared: true}, "0 bytes"},
		"upwards":            {state.File{Path: SharedPrefix + "..", Shared: true}, "not a clean path"},
		"elsewhere":          {state.File{Path: "../../a", Shared: true}, "if, and only if"},
		"further up":         {state.File{Path: "../../../a"}, "not a clean path"},
		"reused":             {state.File{Path: SharedPrefix + "a", Shared: true, Reused: true}, "marked as reused"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := validFile(tc.file)
			if tc.want == "" && err != nil || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
				t.Errorf("error is %v, want %q", err, tc.want)
			}
		})
	}
}
