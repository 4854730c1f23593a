// SPDX-License-Identifier: Apache-2.0

package filestore

import (
	"errors"
	"io"
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
	if len(data) < directMin || uintptr(unsafe.Pointer(unsafe.SliceData(data)))%directAlign != 0 {
		return 0
	}
	return len(data) - len(data)%directAlign
}

// writeAll writes data to an empty file, past the page cache as far as data and file system allow.
func writeAll(f *os.File, data []byte) error {
	done, err := writeDirect(f, data[:directPart(data)])
	if err == nil {
		_, err = f.Write(data[done:])
	}
	return err
}

// writeDirect writes data past the page cache and returns how many bytes: none if the file system doesn't do that.
func writeDirect(f *os.File, data []byte) (int, error) {
	if len(data) == 0 || setDirect(f, true) != nil {
		return 0, nil
	}
	done, err := f.Write(data)
	if errors.Is(err, syscall.EINVAL) { // some refuse only now
		done = 0
		_, err = f.Seek(0, io.SeekStart)
	}
	if off := setDirect(f, false); err == nil {
		err = off
	}
	return done, err
}
