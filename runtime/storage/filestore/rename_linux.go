// SPDX-License-Identifier: Apache-2.0

package filestore

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// moveNew moves a file from one directory to another, under a name that must be free there. It says false if the file system can't do that in one step.
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
		err := b.Control(func(toFD uintptr) { moved = unix.Renameat2(int(fromFD), old, int(toFD), name, unix.RENAME_NOREPLACE) })
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
