// SPDX-License-Identifier: Apache-2.0

// Package fuzztest has what fuzz targets share: a bound on the memory that a decoder takes for its input. A decoder that believes a length or a number of rows
// before it has seen the bytes breaks it.
package fuzztest

import (
	"fmt"
	"runtime"
	"testing"
)

// noise is what the runtime and the fuzzer may allocate beside, in goroutines of their own.
const noise = 64 << 10

// Bound is how much memory, in bytes, a decoder may allocate in all, whether or not it is freed meanwhile. The test that uses it must have nothing else going on in its process.
type Bound struct {
	// Fixed is whatever the input, such as batches of a pool, on top of 64 KiB for what the process does beside.
	Fixed int
	// PerByte is for each byte of the input.
	PerByte int
}

// Check runs f on an input of size bytes, and fails the test if f takes more memory than the bound allows.
func (b Bound) Check(tb testing.TB, size int, f func()) {
	tb.Helper()
	if err := b.exceeded(size, f); err != nil {
		tb.Fatal(err)
	}
}

func (b Bound) exceeded(size int, f func()) error {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	if used, limit := after.TotalAlloc-before.TotalAlloc, noise+uint64(b.Fixed)+uint64(b.PerByte)*uint64(size); used > limit {
		return fmt.Errorf("%d bytes of memory for an input of %d bytes: at most %d are in proportion", used, size, limit)
	}
	return nil
}
