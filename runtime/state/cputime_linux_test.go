// SPDX-License-Identifier: Apache-2.0

package state

import (
	"runtime"
	"syscall"
	"testing"
	"time"
)

// threadTime is the processor time of the calling thread; the caller stays on it.
func threadTime(tb testing.TB) time.Duration {
	tb.Helper()
	runtime.LockOSThread()
	var u syscall.Rusage
	if err := syscall.Getrusage(1, &u); err != nil { // of the thread
		tb.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// processTime is the processor time of this process.
func processTime(tb testing.TB) time.Duration {
	tb.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		tb.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
