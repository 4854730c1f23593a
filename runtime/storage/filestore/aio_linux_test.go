// SPDX-License-Identifier: Apache-2.0

//go:build amd64 || arm64

package filestore

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/weir-stream/weir/runtime/storage"
)

// TestDelete_GivesUpLargeObjects deletes more large objects at once than the kernel takes requests, and looks for files that are held though they are deleted.
func TestDelete_GivesUpLargeObjects(t *testing.T) {
	dir := t.TempDir()
	s := openDir(t, storage.FileConfig{Dir: dir})
	data := pattern(directMin+5, 0)
	var wg sync.WaitGroup
	for i := range 200 {
		wg.Go(func() {
			key := fmt.Sprintf("dir-%d/%d", i%7, i)
			if err := errors.Join(s.PutIfAbsent(t.Context(), key, data), s.Delete(t.Context(), key), s.Delete(t.Context(), key)); err != nil {
				t.Error(err)
			}
			if _, _, err := s.Get(t.Context(), key); !errors.Is(err, storage.ErrNotFound) {
				t.Errorf("after its deletion: %v", err)
			}
		})
	}
	wg.Wait()
	open, err := os.ReadDir("/proc/self/fd")
	must(t, err)
	for _, fd := range open {
		if to, err := os.Readlink("/proc/self/fd/" + fd.Name()); err == nil && strings.HasPrefix(to, dir) && strings.HasSuffix(to, "(deleted)") {
			t.Errorf("%s is held", to)
		}
	}
}
