// SPDX-License-Identifier: Apache-2.0

package filestore

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
)

// setDirect makes writes to a file go to the disk past the page cache, or not. A file system that can't says so.
func setDirect(f *os.File, on bool) error {
	c, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var errno syscall.Errno
	err = c.Control(func(fd uintptr) {
		var flags uintptr
		if flags, _, errno = syscall.Syscall(syscall.SYS_FCNTL, fd, syscall.F_GETFL, 0); errno != 0 {
			return
		}
		flags &^= syscall.O_DIRECT
		if on {
			flags |= syscall.O_DIRECT
		}
		_, _, errno = syscall.Syscall(syscall.SYS_FCNTL, fd, syscall.F_SETFL, flags)
	})
	if errno != 0 {
		err = errors.Join(err, errno)
	}
	return err
}

// allocate makes an empty file as large as it will be.
func allocate(f *os.File, size int64) error {
	c, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = c.Control(func(fd uintptr) {
		for {
			if failed = syscall.Fallocate(int(fd), 0, 0, size); !errors.Is(failed, syscall.EINTR) {
				return
			}
		}
	})
	if failed != nil {
		err = &fs.PathError{Op: "fallocate", Path: f.Name(), Err: failed}
	}
	return err
}
