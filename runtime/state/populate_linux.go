// SPDX-License-Identifier: Apache-2.0

package state

import "syscall"

// madvPopulateWrite is MADV_POPULATE_WRITE, since Linux 5.14.
const madvPopulateWrite = 23

// populate has the kernel provide memory for a part of the address space where it is accessible. What is there already stays as it is. An error is none: the memory then comes when it
// is written to.
func populate(at, size uintptr) {
	_, _, _ = syscall.RawSyscall(syscall.SYS_MADVISE, at, size, madvPopulateWrite)
}
