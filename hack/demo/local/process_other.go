// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package main

import "syscall"

func endWithParent() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
