// SPDX-License-Identifier: Apache-2.0

package main

import "syscall"

// endWithParent makes a process end when the demonstration does, however that ends, and keeps Ctrl-C from it.
func endWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM, Setpgid: true}
}
