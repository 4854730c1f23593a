// SPDX-License-Identifier: Apache-2.0

package checker

import (
	"strings"
	"testing"
	"time"

	"github.com/weir-stream/weir/runtime/snapshot"
	"github.com/weir-stream/weir/runtime/storage/memstore"
)

func TestOutput(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		files map[string]string
		want  string
	}{
		"complete":  {map[string]string{"part-1.jsonl": "{\"key\":1,\"seq\":1}\n{\"key\":2,\"seq\":1}\n", "part-2.jsonl": "{\"key\":1,\"seq\":2}\n"}, ""},
		"a gap":     {map[string]string{"part-1.jsonl": "{\"key\":1,\"seq\":1}\n{\"key\":1,\"seq\":3}\n"}, "key 1: 2 is missing"},
		"a double":  {map[string]string{"part-1.jsonl": "{\"key\":7,\"seq\":1}\n", "part-2.jsonl": "{\"key\":7,\"seq\":1}\n"}, "key 7: 1 is there 2 times"},
		"no first":  {map[string]string{"part-1.jsonl": "{\"key\":1,\"seq\":2}\n"}, "key 1: 1 is missing"},
		"staged":    {map[string]string{"part-1.jsonl": "{\"key\":1,\"seq\":1}\n", "_staging/j/part-2.jsonl": "{\"key\":1,\"seq\":1}\n"}, ""},
		"malformed": {map[string]string{"part-1.jsonl": "{\"key\":1}\n"}, "has no key or no seq"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store := memstore.New(t.Name(), func() time.Time { return time.Time{} }).Client(memstore.Options{})
			for k, v := range tc.files {
				if err := store.PutIfAbsent(t.Context(), k, []byte(v)); err != nil {
					t.Fatal(err)
				}
			}
			r, err := Output(t.Context(), store)
			if err == nil {
				if missing, repeated := strings.Contains(tc.want, "missing"), strings.Contains(tc.want, "times"); (r.Missing > 0) != missing || (r.Repeated > 0) != repeated {
					t.Errorf("%d are missing and %d repeated, want %q", r.Missing, r.Repeated, tc.want)
				}
				err = r.Err()
			}
			if tc.want == "" && err != nil || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
		})
	}
}

func TestJudgeHistory(t *testing.T) {
	t.Parallel()
	empty, full := snapshot.Restore{Empty: true}, snapshot.Restore{Checkpoint: 3, Path: "c/"}
	if n, err := judgeHistory(&snapshot.Head{Restores: []snapshot.Restore{empty, empty, full, full}}); err != nil || n != 4 {
		t.Errorf("got %d, %v", n, err)
	}
	if _, err := judgeHistory(&snapshot.Head{Restores: []snapshot.Restore{empty, full, empty}}); err == nil {
		t.Error("an empty start after one with state is no error")
	}
	if _, err := judgeHistory(&snapshot.Head{Restores: []snapshot.Restore{empty}, RestoresDropped: 3, EmptyDropped: 1}); err == nil {
		t.Error("an empty start after dropped ones with state is no error")
	}
}
