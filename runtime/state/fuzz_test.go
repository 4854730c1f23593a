// SPDX-License-Identifier: Apache-2.0

package state

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"maps"
	"testing"

	"github.com/weir-stream/weir/internal/fuzztest"
)

// seal makes all checksums of a state file fit, as far as header, index and trailer can be found: so the fuzzer gets past them.
func seal(b []byte) []byte {
	le := binary.LittleEndian
	if len(b) < fixedHeader+4+trailerSize {
		return b
	}
	trailer := b[len(b)-trailerSize:]
	copy(b, fileMagic)
	copy(trailer[24:], trailerMagic)
	index := le.Uint64(trailer)
	size := uint64(le.Uint32(trailer[8:])) * indexEntrySize
	if end := uint64(len(b) - trailerSize); index < end && end-index == size {
		for at := index; at < end; at += indexEntrySize {
			off, n := le.Uint64(b[at+8:]), le.Uint64(b[at+16:])
			if off <= index && n <= index-off {
				le.PutUint32(b[at+28:], checksum(b[off:off+n]))
			}
		}
		le.PutUint32(trailer[12:], checksum(b[index:end]))
		if header := uint64(le.Uint32(b[12:])); header >= fixedHeader+4 && header <= index {
			le.PutUint32(b[header-4:], checksum(b[:header-4]))
		}
	}
	le.PutUint32(trailer[20:], checksum(trailer[:20]))
	return b
}

// FuzzStateFile verifies and restores files of any content: no panic, memory within bounds of what is there, and a file that is verified is restored.
func FuzzStateFile(f *testing.F) {
	shared := readHex(f, "testdata/index-v2-shared.hex")
	for _, path := range []string{"testdata/state-v1.hex", "testdata/state-v3.hex", "testdata/index-v2.hex", "testdata/index-v2-shared.hex"} {
		data := readHex(f, path)
		f.Add(data, true)
		f.Add(data, false)
		f.Add(data[:len(data)/2], true)
	}
	f.Add([]byte(fileMagic), true)
	bound := fuzztest.Bound{Fixed: 1 << 20, PerByte: 200}
	f.Fuzz(func(t *testing.T, b []byte, fit bool) {
		if fit {
			b = seal(append([]byte(nil), b...))
		}
		store := &pairReader{b, shared}
		file := File{Path: "f0", Size: int64(len(b)), CRC32C: crcOf(b), LastGroup: 3}
		if len(b) > trailerSize {
			file.Index = binary.LittleEndian.Uint32(b[len(b)-trailerSize+16:]) == indexVersion
		}
		var info *FileInfo
		var m *Memory
		var verr, rerr error
		bound.Check(t, len(b), func() {
			info, verr = VerifyFile(t.Context(), file, store)
			var err error
			if m, err = NewMemory(Options{MaxParallelism: 4, Last: 3}); err != nil {
				t.Fatal(err)
			}
			files := []File{file}
			if info != nil {
				for _, r := range info.Files {
					r.Size, r.LastGroup = int64(len(shared)), 3
					files = append(files, r)
				}
			}
			rerr = m.Restore(t.Context(), files, store)
		})
		if rerr == nil && !file.Index && info != nil {
			saved := &fileStore{}
			again := writeAll(t, m, saved)
			back, err := NewMemory(m.opts)
			if err != nil {
				t.Fatal(err)
			}
			if err := back.Restore(t.Context(), again, saved); err != nil {
				t.Fatal(err)
			}
			if !maps.Equal(contents(m), contents(back)) {
				t.Error("what was restored is another after it was saved")
			}
		}
		if verr != nil && rerr == nil && info != nil && len(info.Sections) > 0 {
			t.Errorf("restored, though it is damaged: %v", verr)
		}
	})
}

// pairReader has the file being read, and the shared file that an index refers to, by whatever name.
type pairReader struct{ file, shared []byte }

func (r *pairReader) ReadFile(_ context.Context, f File, off, n int64) ([]byte, error) {
	b := r.shared
	if f.Path == "f0" {
		b = r.file
	}
	if off < 0 || n < 0 || off > int64(len(b)) || n > int64(len(b))-off {
		return nil, errors.New("there are no such bytes")
	}
	return bytes.Clone(b[off : off+n]), nil
}
