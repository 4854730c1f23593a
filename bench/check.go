// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"sync"

	"github.com/weir-stream/weir/runtime/record"
)

// total is what a set of counts adds up to.
type total struct {
	distinct, rows int64
	// sum of keys, each as often as it was counted; wraps around.
	sum int64
}

// check compares what the sources emitted with what was counted.
func (t total) check(emitted mark, keys uint64) error {
	switch {
	case t.rows != emitted.Rows:
		return fmt.Errorf("the counts add up to %d records, but the sources emitted %d", t.rows, emitted.Rows)
	case t.sum != emitted.Sum:
		return fmt.Errorf("the counts of %d records belong to other keys than were emitted: sum of keys %d instead of %d", t.rows, t.sum, emitted.Sum)
	case uint64(t.distinct) > keys:
		return fmt.Errorf("%d distinct keys were counted, but there are only %d", t.distinct, keys)
	}
	return nil
}

// checkSinkRows compares what sinks took.
func checkSinkRows(took mark, want int64) error {
	if took.Rows != want {
		return fmt.Errorf("the sinks took %d records instead of %d", took.Rows, want)
	}
	return nil
}

// checkCount checks a keyed count of random keys.
func checkCount(ctx context.Context, r *readback, keys uint64, emitted, took mark) error {
	var t total
	err := r.counts(ctx, "count", func(key []byte, count int64) {
		t.distinct++
		t.rows += count
		t.sum += int64(binary.LittleEndian.Uint64(key)) * count
	})
	if err != nil {
		return err
	}
	if err := t.check(emitted, keys); err != nil {
		return err
	}
	return checkSinkRows(took, emitted.Rows)
}

// checkChain makes all keys once more to know how many pass the filter.
func checkChain(emitted []mark, took mark) error {
	passed := make([]int64, len(emitted))
	var wg sync.WaitGroup
	for i := range emitted {
		wg.Go(func() {
			gen := newKeyGen(i, chainKeys)
			keys := make([]int64, record.TargetRows)
			for left := emitted[i].Rows; left > 0; left -= int64(len(keys)) {
				keys = keys[:min(left, record.TargetRows)]
				gen.fill(keys)
				for _, k := range keys {
					if chainKeep(chainFirst(k)) {
						passed[i]++
					}
				}
			}
		})
	}
	wg.Wait()
	var all int64
	for _, n := range passed {
		all += n
	}
	return checkSinkRows(took, all)
}

// checkWords compares the count of every word, and the updates that reached the sinks: at least one for each word, at
// most one for each time it occurs.
func checkWords(ctx context.Context, r *readback, in *input, took mark) error {
	var found, rows int64
	var wrong error
	err := r.counts(ctx, "count", func(key []byte, count int64) {
		found++
		rows += count
		if want := in.words[string(key)] * in.copies; want != count && wrong == nil {
			wrong = fmt.Errorf("word %q was counted %d times instead of %d", key, count, want)
		}
	})
	switch {
	case err != nil:
		return err
	case wrong != nil:
		return wrong
	case found != int64(len(in.words)):
		return fmt.Errorf("%d distinct words were counted instead of %d", found, len(in.words))
	case took.Rows < found || took.Rows > rows:
		return fmt.Errorf("the sinks took %d updates of %d words that occur %d times", took.Rows, found, rows)
	}
	return nil
}
