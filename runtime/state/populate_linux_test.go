// SPDX-License-Identifier: Apache-2.0

package state

import (
	"os"
	"syscall"
	"testing"
	"unsafe"
)

// TestPopulate_ProvidesMemory looks at memory before and after it is populated.
func TestPopulate_ProvidesMemory(t *testing.T) {
	b, err := syscall.Mmap(-1, 0, populateBytes, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = syscall.Munmap(b) }()
	start := uintptr(unsafe.Pointer(unsafe.SliceData(b)))
	there := func() (n int) {
		for i := 0; i < len(b); i += os.Getpagesize() {
			if present(start + uintptr(i)) {
				n++
			}
		}
		return n
	}
	if n := there(); n != 0 {
		t.Fatalf("%d pages are there before anything was written", n)
	}
	populate(start, populateBytes)
	if n, want := there(), len(b)/os.Getpagesize(); n != want {
		t.Errorf("%d of %d pages are there", n, want)
	}
	if err := syscall.Madvise(b, syscall.MADV_DONTNEED); err != nil {
		t.Fatal(err)
	}
	if present(start) {
		t.Error("memory that was given back is said to be there")
	}
}

// TestPageMaker_CountsWhatItMakes makes pages, all zero, that are counted when it is asked to.
func TestPageMaker_CountsWhatItMakes(t *testing.T) {
	m := mustMemory(t, Options{MaxParallelism: 1})
	before := m.MemoryBytes()
	var pages pageMaker
	for range 300 {
		page := unsafe.Slice((*uint64)(pages.make(pageBytes)), pageBytes/8)
		for i, v := range page {
			if v != 0 {
				t.Fatalf("word %d of a new page is %x", i, v)
			}
			page[i] = 1
		}
	}
	if n := m.MemoryBytes() - before; n != 0 {
		t.Errorf("%d bytes are counted before", n)
	}
	pages.count(m)
	pages.count(m)
	if n := m.MemoryBytes() - before; n != 300*pageBytes {
		t.Errorf("%d bytes are counted of %d", n, 300*pageBytes)
	}
}
