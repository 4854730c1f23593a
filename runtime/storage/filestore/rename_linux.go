// SPDX-License-Identifier: Apache-2.0

package filestore

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// moveNew moves a file from one directory to another, under a name that must be free there. It says false, and has done nothing, where that can't be had in one step, or where not this
// machine alone decides whether a name is free: some network and user-space file systems take RENAME_NOREPLACE and look only at what this machine knows of the name, so a move
// would replace what another one has just made. The server of a hard link looks at the name itself.
func moveNew(from *os.File, old string, to *os.File, name string) (bool, error) {
	if !onOwnDisk(to) {
		return false, nil
	}
	a, err := from.SyscallConn()
	if err != nil {
		return false, err
	}
	b, err := to.SyscallConn()
	if err != nil {
		return false, err
	}
	var moved, other error
	err = a.Control(func(fromFD uintptr) {
		other = b.Control(func(toFD uintptr) { moved = unix.Renameat2(int(fromFD), old, int(toFD), name, unix.RENAME_NOREPLACE) })
	})
	switch err = errors.Join(err, other, moved); {
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENOSYS), errors.Is(err, unix.EXDEV):
		return false, nil
	case err != nil:
		return false, &os.LinkError{Op: "rename", Old: old, New: name, Err: moved}
	}
	return true, nil
}
