// SPDX-License-Identifier: Apache-2.0

package badinput_test

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestMalformedLine(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		policy string
		fails  bool
	}{
		"default":    {fails: true},
		"Fail":       {policy: ", onMalformed: Fail", fails: true},
		"Skip":       {policy: ", onMalformed: Skip"},
		"DeadLetter": {policy: ", onMalformed: DeadLetter, deadLetter: {path: DIR/dead}"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			j := newJob(t)
			in := filepath.Join(j.dir, "in.jsonl")
			write(t, in, "{\"key\":1}\n{\"key\":2}\n{\"key\":three}\n{\"key\":4}\n")
			j.source = "files: {path: DIR/in.jsonl, format: JSON, schema: [{name: key, type: Int}]" + tc.policy + "}"
			j.sink = "fileSink: {path: DIR/out}"
			command := []string{weir, "run", j.file(t)}
			if tc.fails {
				refused(t, nil, command, `operator "rows"`, in, "malformed line at byte 20", "correct the file, or set onMalformed to Skip or DeadLetter")
				return
			}
			if out, ok := run(t, nil, command...); !ok {
				t.Fatal(out)
			}
			got := lines(t, filepath.Join(j.dir, "out"))
			slices.Sort(got)
			if want := []string{`{"v":1,"rows":1}`, `{"v":2,"rows":1}`, `{"v":4,"rows":1}`}; !slices.Equal(got, want) {
				t.Errorf("got %q, want %q", got, want)
			}
			dead := strings.Join(lines(t, filepath.Join(j.dir, "dead")), "\n")
			if want := name == "DeadLetter"; want != (dead != "") {
				t.Fatalf("dead letters: %q", dead)
			}
			for _, w := range []string{in, `"offset":20`, `{\"key\":three}`} {
				if dead != "" && !strings.Contains(dead, w) {
					t.Errorf("the dead letter doesn't name %s: %s", w, dead)
				}
			}
		})
	}
}
