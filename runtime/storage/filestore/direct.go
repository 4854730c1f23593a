// SPDX-License-Identifier: Apache-2.0

package filestore

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
	"unsafe"
)

const (
	// directMin is from which size on data is written past the page cache. Copying it there, and freeing the pages when the file is deleted
	// soon after, takes several times the processor time of the write itself.
	directMin = 256 << 10
	// directAlign is what memory, place and size of such a write are multiples of.
	directAlign = 4096
)

// directPart is how many of the first bytes of data can be written past the page cache.
func directPart(data []byte) int {
	if len(data) < directMin {
		return 0
	}
	if at := uintptr(unsafe.Pointer(unsafe.SliceData(data))); at%directAlign != 0 { //nolint:gosec // only looks where it is
		return 0
	}
	return len(data) - len(data)%directAlign
}

// writeAll writes data to an empty file, past the page cache as far as data and file system allow.
func writeAll(f *os.File, data []byte) error {
	done, err := writeDirect(f, data[:directPart(data)], int64(len(data)))
	if err == nil {
		_, err = f.WriteAt(data[done:], int64(done))
	}
	return err
}

// writeDirect writes data past the page cache and returns how many bytes: none if the file system doesn't do that. The file is made as large as it
// will be, since a write that makes a file larger keeps its caller waiting.
func writeDirect(f *os.File, data []byte, size int64) (int, error) {
	if len(data) == 0 {
		return 0, nil
	}
	if err := setDirect(f, true); err != nil {
		return 0, nil //nolint:nilerr // all of it goes the ordinary way
	}
	done, err := 0, allocate(f, size)
	if err == nil {
		done, err = writeInBackground(f, data)
	}
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.EOPNOTSUPP) { // some refuse only now
		done, err = 0, nil
	}
	if off := setDirect(f, false); err == nil {
		err = off
	}
	return done, err
}

// writeInBackground writes data at the beginning of a file.
func writeInBackground(f *os.File, data []byte) (int, error) {
	done, _, err := inBackground(f, aioWrite, data, 0)
	if err != nil {
		return 0, &fs.PathError{Op: "write", Path: f.Name(), Err: err}
	}
	if done -= done % directAlign; done == len(data) {
		return done, nil
	}
	n, err := f.WriteAt(data[done:], int64(done))
	return done + n, err
}

// flush makes what was written to a file or directory durable.
func flush(f *os.File) error {
	_, ok, err := inBackground(f, aioFlush, nil, 0)
	switch {
	case !ok:
		return f.Sync()
	case err != nil:
		return &fs.PathError{Op: "sync", Path: f.Name(), Err: err}
	}
	return nil
}

// remove deletes a file, and leaves it to the kernel to free the blocks of a large one.
func (s *Store) remove(key string, info fs.FileInfo) error {
	if info.Size() < directMin || !info.Mode().IsRegular() {
		return s.root.Remove(key)
	}
	f, err := s.root.Open(key)
	if err != nil {
		return s.root.Remove(key)
	}
	if !freesLater(f) {
		return errors.Join(f.Close(), s.root.Remove(key))
	}
	return errors.Join(s.root.Remove(key), closeDeleted(f))
}
