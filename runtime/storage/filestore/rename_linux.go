// SPDX-License-Identifier: Apache-2.0

package filestore

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// local says whether a directory is of a file system that only this machine changes. Elsewhere a move may replace what another machine has just made: some network and
// user-space file systems take RENAME_NOREPLACE and look only at what this machine knows of the name, where the server of a hard link looks at the name itself.
func local(fd int) bool {
	var s unix.Statfs_t
	if unix.Fstatfs(fd, &s) != nil {
		return false
	}
	return s.Type == unix.EXT4_SUPER_MAGIC || s.Type == unix.XFS_SUPER_MAGIC || s.Type == unix.BTRFS_SUPER_MAGIC
}

// moveNew moves a file from one directory to another, under a name that must be free there. It says false, and has done nothing, if that is not to be had in one step that can't
// replace anything: it is done only where this machine alone decides whether a name is free.
func moveNew(from *os.File, old string, to *os.File, name string) (bool, error) {
	a, err := from.SyscallConn()
	if err != nil {
		return false, err
	}
	b, err := to.SyscallConn()
	if err != nil {
		return false, err
	}
	var moved error
	err = a.Control(func(fromFD uintptr) {
		err := b.Control(func(toFD uintptr) {
			if moved = unix.EINVAL; local(int(toFD)) {
				moved = unix.Renameat2(int(fromFD), old, int(toFD), name, unix.RENAME_NOREPLACE)
			}
		})
		moved = errors.Join(moved, err)
	})
	switch err = errors.Join(err, moved); {
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENOSYS), errors.Is(err, unix.EXDEV):
		return false, nil
	case err != nil:
		return false, &os.LinkError{Op: "rename", Old: old, New: name, Err: err}
	}
	return true, nil
}
