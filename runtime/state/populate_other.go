// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package state

func present(uintptr) bool { return true }

func populate(_, _ uintptr) {}

func makeHuge(_, _ uintptr) {}
