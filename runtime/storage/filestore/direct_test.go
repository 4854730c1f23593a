// SPDX-License-Identifier: Apache-2.0

package filestore

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/weir-stream/weir/runtime/storage"
)

// pattern returns n bytes, each block of which is another, that begin off bytes behind the start of a memory page.
func pattern(n, off int) []byte {
	b := make([]byte, n+off)[off:]
	for i := range b {
		b[i] = byte(i>>12 ^ i)
	}
	return b
}

// TestPutIfAbsent_LargeObjects stores objects of which all, a part or nothing can be written past the page cache.
func TestPutIfAbsent_LargeObjects(t *testing.T) {
	s := openDir(t, storage.FileConfig{Dir: t.TempDir()})
	for name, tc := range map[string]struct{ size, off, direct int }{
		"small":     {size: directMin - 1},
		"just":      {size: directMin, direct: directMin},
		"odd":       {size: directMin + 1, direct: directMin},
		"large":     {size: 3<<20 + 4097, direct: 3<<20 + 4096},
		"unaligned": {size: 1 << 20, off: 8},
	} {
		data := pattern(tc.size, tc.off)
		if n := directPart(data); n != tc.direct {
			t.Errorf("%s: %d bytes can be written directly, not %d", name, n, tc.direct)
		}
		must(t, s.PutIfAbsent(t.Context(), name, data))
		got, _, err := s.Get(t.Context(), name)
		must(t, err)
		if !bytes.Equal(got, data) {
			t.Errorf("%s: %d bytes were stored, %d read, or others", name, len(data), len(got))
		}
	}
}

// TestSetDirect_IsUndone appends a piece of odd size behind a direct write, which fails unless the file has become an ordinary one.
func TestSetDirect_IsUndone(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "file"))
	must(t, err)
	defer f.Close()
	data := pattern(directMin, 0)
	if n, err := writeDirect(f, data, directMin+3); err != nil || n != len(data) && n != 0 {
		t.Fatalf("writeDirect = %d, %v", n, err)
	}
	_, err = f.WriteAt(data[:3], directMin)
	must(t, err)
}
