// SPDX-License-Identifier: Apache-2.0

package coordinator

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-stream/weir/runtime/snapshot"
	"github.com/weir-stream/weir/runtime/storage/memstore"
)

// In the directory of a savepoint that was given up may lie what another one has written, which is complete.
func TestDeleteObjects_OfASavepointLeavesOthersInItsDirectory(t *testing.T) {
	mem := memstore.New("test", nil)
	s := mem.Client(memstore.Options{})
	for _, key := range []string{"sp/7-a", "sp/7-b", "sp/17-a", "sp/71-a", "sp/_metadata"} {
		if err := s.PutIfAbsent(t.Context(), key, []byte("1")); err != nil {
			t.Fatal(err)
		}
	}
	n, err := deleteObjects(t.Context(), s, deletion{dir: "job/", prefix: "sp/" + snapshot.SavepointFilePrefix(7)})
	if err != nil || n != 2 {
		t.Errorf("deleteObjects() = %d, %v, want 2", n, err)
	}
	if diff := cmp.Diff([]string{"sp/17-a", "sp/71-a", "sp/_metadata"}, mem.Keys()); diff != "" {
		t.Errorf("what is left (-want +got):\n%s", diff)
	}
	for _, prefix := range []string{"/", "sp", "/7-"} {
		if _, err := deleteObjects(t.Context(), s, deletion{dir: "job/", prefix: prefix}); err == nil {
			t.Errorf("deleteObjects(%q) doesn't say that it is no directory", prefix)
		}
	}
}
