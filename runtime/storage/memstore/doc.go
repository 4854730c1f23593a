// SPDX-License-Identifier: Apache-2.0

// Package memstore keeps objects in memory. It is deterministic: it starts no goroutine and reads no clock, so it can
// stand in for a real store inside the simulator, and its faults come from a function of the caller.
//
// A Memory is the content. Clients of it are stores; each has its own faults and its own count of calls, so that several
// processes can be played over one content.
package memstore
