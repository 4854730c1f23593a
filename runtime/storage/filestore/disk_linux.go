// SPDX-License-Identifier: Apache-2.0

package filestore

import (
	"os"

	"golang.org/x/sys/unix"
)

// onOwnDisk says whether a file is of a file system that only this machine changes: ext4, XFS and Btrfs. Nobody else decides there whether a name is free, and
// files vanish with their last name, also while they are open; others, such as NFS, give an open file a name of their own, which keeps its directory from being removed.
func onOwnDisk(f *os.File) bool {
	c, err := f.SyscallConn()
	if err != nil {
		return false
	}
	var s unix.Statfs_t
	var failed error
	err = c.Control(func(fd uintptr) { failed = unix.Fstatfs(int(fd), &s) })
	return err == nil && failed == nil && (s.Type == unix.EXT4_SUPER_MAGIC || s.Type == unix.XFS_SUPER_MAGIC || s.Type == unix.BTRFS_SUPER_MAGIC)
}
