// SPDX-License-Identifier: Apache-2.0

package filestore

import (
	"errors"
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
