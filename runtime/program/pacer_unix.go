// SPDX-License-Identifier: Apache-2.0

//go:build unix

package program

import (
	"fmt"
	"syscall"
	"time"
)

// usedTime returns the processor time of this process, of user and system.
func usedTime() (time.Duration, error) {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0, fmt.Errorf("asking for the processor time of this process: %w", err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()), nil
}
