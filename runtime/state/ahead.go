// SPDX-License-Identifier: Apache-2.0

package state

import (
	"context"
	"sync"
)

const (
	// readsAhead is how many reads are begun before their turn, readAheadBytes how many bytes they and the one in use take together.
	readsAhead     = 8
	readAheadBytes = 36 << 20
)

// reads are to be done in order, and begun before their turn.
type reads[T any] struct {
	n int
	// atOnce is how many of them run at the same time. Up to 1, each is done in the caller's goroutine when it is its turn.
	atOnce int
	// size is how many bytes read i takes.
	size func(i int) int64
	// fetch does read i. It runs in other goroutines, several times at once.
	fetch func(ctx context.Context, i int) (T, error)
	// use gets the results one after the other, in the caller's goroutine.
	use func(i int, v T) error
}

// fetched is the outcome of a read.
type fetched[T any] struct {
	v   T
	err error
}

// run does all reads, up to the first error in their order. No goroutine is left when it returns.
func (r *reads[T]) run(ctx context.Context) error {
	if r.atOnce <= 1 || r.n == 1 {
		return r.oneByOne(ctx)
	}
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	turns := make(chan struct{}, r.atOnce)
	var window [readsAhead]chan fetched[T]
	begun, held := 0, int64(0)
	for i := range r.n {
		for begun < r.n && begun < i+readsAhead && (begun == i || held+r.size(begun) <= readAheadBytes) {
			n, to := begun, make(chan fetched[T], 1)
			window[n%readsAhead] = to
			held += r.size(n)
			begun++
			wg.Go(func() { to <- r.one(ctx, turns, n) })
		}
		got := <-window[i%readsAhead]
		if got.err != nil {
			return got.err
		}
		if err := r.use(i, got.v); err != nil {
			return err
		}
		held -= r.size(i)
	}
	return nil
}

// one does read i when it is its turn.
func (r *reads[T]) one(ctx context.Context, turns chan struct{}, i int) (f fetched[T]) {
	select {
	case turns <- struct{}{}:
		defer func() { <-turns }()
	case <-ctx.Done():
		return fetched[T]{err: ctx.Err()}
	}
	if f.err = ctx.Err(); f.err == nil {
		f.v, f.err = r.fetch(ctx, i)
	}
	return f
}

// oneByOne is run without other goroutines.
func (r *reads[T]) oneByOne(ctx context.Context) error {
	for i := range r.n {
		v, err := r.fetch(ctx, i)
		if err != nil {
			return err
		}
		if err := r.use(i, v); err != nil {
			return err
		}
	}
	return nil
}

// readsAtOnce is how many reads of r may run at the same time.
func readsAtOnce(r FileReader) int {
	if c, ok := r.(ConcurrentReader); ok {
		return c.ReadsAtOnce()
	}
	return 1
}
