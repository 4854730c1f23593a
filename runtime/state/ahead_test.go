// SPDX-License-Identifier: Apache-2.0

package state

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"
)

// atOnce is how many reads run at the same time in tests.
const atOnce = 4

// concurrentStore is a fileStore that is read ahead.
type concurrentStore struct{ *fileStore }

func (concurrentStore) ReadsAtOnce() int { return atOnce }

// TestReads_KeepOrderAndBounds does reads of random sizes, which end in any order.
func TestReads_KeepOrderAndBounds(t *testing.T) {
	defer goleak.VerifyNone(t)
	rnd := rand.New(rand.NewPCG(7, 7))
	sizes := make([]int64, 300)
	for i := range sizes {
		sizes[i] = rnd.Int64N(readAheadBytes / 3)
	}
	sizes[100] = 2 * readAheadBytes
	var begun, running, most atomic.Int64
	next, held := 0, int64(0)
	all := reads[int]{
		n: len(sizes), atOnce: atOnce,
		size: func(i int) int64 { return sizes[i] },
		fetch: func(_ context.Context, i int) (int, error) {
			begun.Add(1)
			for n := running.Add(1); n > most.Load(); {
				most.Store(n)
			}
			defer running.Add(-1)
			return 3 * i, nil
		},
		use: func(i, v int) error {
			if i != next || v != 3*i {
				t.Fatalf("read %d with %d after %d reads", i, v, next)
			}
			held = 0
			for n := i; n < int(begun.Load()); n++ {
				held += sizes[n]
			}
			if ahead := int(begun.Load()) - i; ahead > readsAhead || ahead > 1 && held > readAheadBytes {
				t.Fatalf("%d reads of %d bytes ahead", ahead, held)
			}
			next++
			return nil
		},
	}
	if err := all.run(t.Context()); err != nil || next != len(sizes) {
		t.Errorf("%d reads of %d, %v", next, len(sizes), err)
	}
	if most.Load() > atOnce {
		t.Errorf("%d reads at once, at most %d are allowed", most.Load(), atOnce)
	}
}

// blockingReader answers the first reads and lets the others wait for the end of the context. It says on waiting how many wait.
type blockingReader struct {
	concurrentStore
	answers, n atomic.Int64
	waiting    chan int64
}

func (r *blockingReader) ReadFile(ctx context.Context, f File, off, n int64) ([]byte, error) {
	if r.answers.Add(-1) >= 0 {
		return r.fileStore.ReadFile(ctx, f, off, n)
	}
	r.waiting <- r.n.Add(1)
	<-ctx.Done()
	return nil, ctx.Err()
}

// TestRestore_ReadsAhead waits for several reads at once and cancels them: Restore ends, and no goroutine is left.
func TestRestore_ReadsAhead(t *testing.T) {
	for name, answers := range map[string]int64{"opening": 0, "sections": 2 * 16} { // the end and the header of each file
		t.Run(name, func(t *testing.T) {
			defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
			m, tab := newCounts(t, Options{MaxParallelism: 16, Last: 15, PartSize: 1 << 20})
			fill(tab, 1_000_000)
			store := &fileStore{}
			files := writeAll(t, m, store)
			if len(files) != 16 {
				t.Fatalf("%d files", len(files))
			}
			r := &blockingReader{concurrentStore: concurrentStore{store}, waiting: make(chan int64, 64)}
			r.answers.Store(answers)
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error, 1)
			fresh := mustMemory(t, m.opts)
			go func() { done <- fresh.Restore(ctx, files, r) }()
			for <-r.waiting < atOnce {
			}
			cancel()
			if err := <-done; !errors.Is(err, context.Canceled) {
				t.Errorf("error is %v", err)
			}
			if n := r.n.Load(); n != atOnce {
				t.Errorf("%d reads at once", n)
			}
		})
	}
}

// TestRestore_FirstErrorInOrder has a file that can't be read among many others, and ends the reads begun after it.
func TestRestore_FirstErrorInOrder(t *testing.T) {
	defer goleak.VerifyNone(t)
	m, tab := newCounts(t, Options{MaxParallelism: 16, Last: 15, PartSize: 1 << 20})
	fill(tab, 1_000_000)
	store := &fileStore{}
	files := writeAll(t, m, store)
	for _, bad := range []int{12, 5} { // the later one is damaged first
		store.files[bad][len(store.files[bad])/2] ^= 1
		err := mustMemory(t, m.opts).Restore(t.Context(), files, concurrentStore{store})
		ce, ok := errors.AsType[*CorruptError](err)
		if !ok || ce.Path != fmt.Sprint("f", bad) || !strings.Contains(err.Error(), "checksum does not fit") {
			t.Errorf("file %d: error is %v", bad, err)
		}
	}
}

// TestRestore_ManyFilesSameState restores files whose ends are dropped before their sections are read.
func TestRestore_ManyFilesSameState(t *testing.T) {
	defer goleak.VerifyNone(t)
	m, tab := newCounts(t, Options{MaxParallelism: 128, Last: 127, PartSize: 300_000})
	fill(tab, 1_000_000)
	store := &fileStore{}
	files := writeAll(t, m, store)
	if len(files)*tailBytes < keptTails*3/2 {
		t.Fatalf("%d files are too few", len(files))
	}
	fresh := mustMemory(t, m.opts)
	if err := fresh.Restore(t.Context(), files, concurrentStore{store}); err != nil {
		t.Fatal(err)
	}
	if !maps.Equal(contents(fresh), contents(m)) {
		t.Error("another state was restored")
	}
}

// ownReader panics when it is used by more than one goroutine at once: it isn't marked as concurrent.
type ownReader struct {
	*fileStore
	busy atomic.Bool
}

func (r *ownReader) ReadFile(ctx context.Context, f File, off, n int64) ([]byte, error) {
	if !r.busy.CompareAndSwap(false, true) {
		panic("two reads at once")
	}
	defer r.busy.Store(false)
	runtime.Gosched()
	return r.fileStore.ReadFile(ctx, f, off, n)
}

func TestRestore_OneReadAtATimeUnlessConcurrent(t *testing.T) {
	m, tab := newCounts(t, Options{MaxParallelism: 16, Last: 15, PartSize: 1 << 20})
	fill(tab, 500_000)
	store := &fileStore{}
	files := writeAll(t, m, store)
	fresh := mustMemory(t, m.opts)
	if err := fresh.Restore(t.Context(), files, &ownReader{fileStore: store}); err != nil || fresh.table("count").Len() != 500_000 {
		t.Errorf("%d keys, %v", fresh.table("count").Len(), err)
	}
}

// TestIncremental_RestoreReadsAhead restores from several shared files by an index, with reads ahead.
func TestIncremental_RestoreReadsAhead(t *testing.T) {
	defer goleak.VerifyNone(t)
	m, tab := newCounts(t, Options{MaxParallelism: 64, Last: 63, PartSize: 400_000})
	fill(tab, 200_000)
	store := &sharedStore{}
	increment(t, m, store, 1, 0)
	fill(tab, 500)
	files := listed(increment(t, m, store, 2, 1))
	fresh := mustMemory(t, m.opts)
	if err := fresh.Restore(t.Context(), files, concurrentStore{&store.fileStore}); err != nil {
		t.Fatal(err)
	}
	if !maps.Equal(contents(fresh), contents(m)) {
		t.Error("another state was restored")
	}
}
