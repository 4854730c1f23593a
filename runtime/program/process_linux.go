// SPDX-License-Identifier: Apache-2.0

package program

import "syscall"

// childAttributes put a worker process into a process group of its own, so that an interrupt from the terminal reaches
// only the parent, and have it killed when its parent dies.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
