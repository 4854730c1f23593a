// SPDX-License-Identifier: Apache-2.0

package filestore

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"github.com/weir-stream/weir/runtime/storage"
)

// TestInBackground_ManyAtOnce stores more objects at once than the kernel takes requests.
func TestInBackground_ManyAtOnce(t *testing.T) {
	s := openDir(t, storage.FileConfig{Dir: t.TempDir()})
	var wg sync.WaitGroup
	for i := range 300 {
		wg.Go(func() {
			data := pattern(100+i%3*directMin, 0)
			data[0] = byte(i)
			key := fmt.Sprintf("dir-%d/%d", i%7, i)
			if err := s.PutIfAbsent(t.Context(), key, data); err != nil {
				t.Error(err)
			}
			if got, _, err := s.Get(t.Context(), key); err != nil || !bytes.Equal(got, data) {
				t.Errorf("%s: %d bytes, %v", key, len(got), err)
			}
		})
	}
	wg.Wait()
}

// TestInBackground_Errors comes back with what the kernel says.
func TestInBackground_Errors(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	must(t, os.WriteFile(path, nil, 0o600))
	f, err := os.Open(path)
	must(t, err)
	defer f.Close()
	if _, ok, err := inBackground(f, aioWrite, pattern(directMin, 0), 0); ok && !errors.Is(err, syscall.EBADF) {
		t.Errorf("writing to a file that is open for reading: %v", err)
	}
	must(t, flush(f))
	if err := writeAll(f, pattern(directMin, 0)); !errors.Is(err, syscall.EBADF) {
		t.Errorf("writing all to it: %v", err)
	}
	must(t, f.Close())
	if err := flush(f); !errors.Is(err, os.ErrClosed) {
		t.Errorf("flushing a closed file: %v", err)
	}
}
