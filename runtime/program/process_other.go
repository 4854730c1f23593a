// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package program

import "syscall"

// childAttributes has nothing portable to set: the lifeline ends a worker process with its parent.
func childAttributes() *syscall.SysProcAttr { return nil }
