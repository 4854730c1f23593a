// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package main

import "net/http"

// handleSignal says that there are no signals here.
func handleSignal(w http.ResponseWriter, _ *http.Request) {
	http.Error(w, "signals are sent on Linux only", http.StatusNotImplemented)
}
