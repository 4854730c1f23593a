// SPDX-License-Identifier: Apache-2.0

package sweep_test

import (
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-stream/weir/runtime/snapshot/sweep"
)

// TestPin_IsFrozen pins what docs/formats/pins.md describes: it is written and read like this for ever.
func TestPin_IsFrozen(t *testing.T) {
	t.Parallel()
	frozen, err := os.ReadFile("testdata/pin-1.golden")
	if err != nil {
		t.Fatal(err)
	}
	want := sweep.Pin{Path: "checkpoints/chk-7/", Reason: "job billing-test starts from it"}
	written, err := sweep.EncodePin(want)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(frozen), string(written)); d != "" {
		t.Errorf("it is written differently (-want +got):\n%s", d)
	}
	read, err := sweep.DecodePin(frozen)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, read); d != "" {
		t.Errorf("what is read from the golden file differs (-want +got):\n%s", d)
	}
}

// TestPin_ForPeople reads pins as people write them.
func TestPin_ForPeople(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		text, want string
	}{
		"without the last slash": {`{"path":"checkpoints/chk-7"}`, "checkpoints/chk-7/"},
		"the manifest":           {`{"path":"checkpoints/chk-7/_metadata"}`, "checkpoints/chk-7/"},
		"on several lines":       {"{\n  \"path\": \"checkpoints/chk-7/\"\n}\n", "checkpoints/chk-7/"},
		"another directory":      {`{"path":"savepoints/a"}`, ""},
		"a way out":              {`{"path":"checkpoints/../x"}`, ""},
		"the parent":             {`{"path":"checkpoints/.."}`, ""},
		"all checkpoints":        {`{"path":"checkpoints/"}`, ""},
		"an unknown field":       {`{"path":"checkpoints/chk-7/","until":"tomorrow"}`, ""},
		"nothing":                {``, ""},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, err := sweep.DecodePin([]byte(tc.text))
			if p.Path != tc.want || (err == nil) != (tc.want != "") {
				t.Errorf("got %q, %v, want %q", p.Path, err, tc.want)
			}
		})
	}
}
