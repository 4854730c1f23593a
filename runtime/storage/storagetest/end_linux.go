// SPDX-License-Identifier: Apache-2.0

package storagetest

import (
	"os/exec"
	"syscall"
)

// endWithParent makes the process end when the test is killed and its cleanup doesn't run.
func endWithParent(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
