// SPDX-License-Identifier: Apache-2.0

package state

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestWithEntries_FindsThemInWhateverGroup shows that a state counts as soon as one of several files has an entry of it, and that one that is only listed in
// headers doesn't.
func TestWithEntries_FindsThemInWhateverGroup(t *testing.T) {
	files := &fileStore{}
	m := mustMemory(t, Options{MaxParallelism: 128, Last: 127, PartSize: 256})
	for _, name := range []string{"a", "b", "empty"} {
		mustTable(t, m, Descriptor{Name: name, Keys: Int64Keys, ValueSize: 8})
	}
	a, b := m.table("a"), m.table("b")
	for k := range int64(200) {
		a.RefInt64(k, HashInt64(k))
	}
	last := int64(0) // one entry of b in the last group that has any
	for k := range int64(200) {
		if HashInt64(k)%128 > HashInt64(last)%128 {
			last = k
		}
	}
	b.RefInt64(last, HashInt64(last))
	s := m.Seal()
	defer s.Release()
	written, err := s.Write(t.Context(), files)
	if err != nil || len(written) < 2 {
		t.Fatal(len(written), err)
	}
	got, err := WithEntries(t.Context(), written, files, []string{"b", "empty", "unknown"})
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"b"}, got); d != "" {
		t.Errorf("states (-want +got):\n%s", d)
	}
	r := mustMemory(t, Options{MaxParallelism: 128, Last: 0})
	if err := r.Restore(t.Context(), written, files); err != nil {
		t.Fatal(err)
	}
	mustTable(t, r, Descriptor{Name: "a", Keys: Int64Keys, ValueSize: 8})
	if d := cmp.Diff([]string{"b", "empty"}, r.Unasked()); d != "" {
		t.Errorf("not asked for (-want +got):\n%s", d)
	}
}
