// SPDX-License-Identifier: Apache-2.0

package state

import (
	"os"
	"syscall"
	"unsafe"
)

const (
	// madvPopulateWrite is MADV_POPULATE_WRITE, since Linux 5.14.
	madvPopulateWrite = 23
	// madvCollapse is MADV_COLLAPSE, since Linux 6.1.
	madvCollapse = 25
)

// present says whether there is memory at an address already.
func present(at uintptr) bool {
	size, in := uintptr(os.Getpagesize()), byte(0)
	_, _, err := syscall.RawSyscall(syscall.SYS_MINCORE, at&^(size-1), size, uintptr(unsafe.Pointer(&in)))
	return err == 0 && in&1 != 0
}

// populate has the kernel provide memory for a part of the address space where it is accessible. What is there already stays as it is. An error is none: the memory then comes when it
// is written to.
func populate(at, size uintptr) {
	_, _, _ = syscall.RawSyscall(syscall.SYS_MADVISE, at, size, madvPopulateWrite)
}

// makeHuge has the kernel back a part of the address space, from the beginning of a huge page to wherever it ends, with huge pages. What is there stays as it is.
// An error is none.
func makeHuge(at, end uintptr) {
	if size := (end - at) &^ (hugePage - 1); end > at && size > 0 {
		_, _, _ = syscall.Syscall(syscall.SYS_MADVISE, at, size, madvCollapse)
	}
}
