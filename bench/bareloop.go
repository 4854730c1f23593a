// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weir-stream/weir/runtime/state"
)

// The bare loop is a keyed count with no engine around it: two goroutines make keys and deal them out in batches by
// hash, two others count them in open-addressing tables of inline slots. The tables consist of pages; once a second
// all pages are sealed, and a sealed page is copied before the first write to it, as a snapshot needs it. What it
// reaches is about what the machine allows.

const (
	loopBatch  = 1024
	loopGroups = 128
	loopQueue  = 8
	pageSlots  = 256
	loopSides  = 2
	sealEvery  = time.Second
	clockEvery = 256
)

type loopKeys struct {
	n      int
	keys   [loopBatch]int64
	hashes [loopBatch]uint64
}

type loopPage [pageSlots]struct {
	// key is stored plus one, so that 0 is an empty slot.
	key, count int64
}

// loopTable is the table of one key group.
type loopTable struct {
	pages  []*loopPage
	sealed []bool
	mask   uint64
	n      uint64
}

func newLoopTable(pages int) *loopTable {
	t := &loopTable{pages: make([]*loopPage, pages), sealed: make([]bool, pages), mask: uint64(pages)*pageSlots - 1}
	for i := range t.pages {
		t.pages[i] = new(loopPage)
	}
	return t
}

// add adds n to the count of a key.
func (t *loopTable) add(key int64, hash uint64, n int64) {
	for i := hash >> 16 & t.mask; ; i = (i + 1) & t.mask {
		at := i / pageSlots
		slot := &t.pages[at][i%pageSlots]
		if slot.key != 0 && slot.key != key+1 {
			continue
		}
		if t.sealed[at] {
			c := *t.pages[at]
			t.pages[at], t.sealed[at] = &c, false
			slot = &c[i%pageSlots]
		}
		slot.count += n
		if slot.key == 0 {
			slot.key = key + 1
			if t.n++; t.n*10 > (t.mask+1)*7 {
				t.grow()
			}
		}
		return
	}
}

func (t *loopTable) grow() {
	bigger := newLoopTable(2 * len(t.pages))
	for _, p := range t.pages {
		for _, s := range p {
			if s.key != 0 {
				bigger.add(s.key-1, state.HashInt64(s.key-1), s.count)
			}
		}
	}
	*t = *bigger
}

// loop is one run of the bare loop.
type loop struct {
	keys     uint64
	stop     atomic.Bool
	channels [loopSides][loopSides]chan *loopKeys
	pool     sync.Pool
	produced [loopSides]mark
	counted  [loopSides]mark
}

func (l *loop) take() *loopKeys {
	b := l.pool.Get().(*loopKeys) //nolint:forcetypeassert // the pool holds nothing else
	b.n = 0
	return b
}

func (l *loop) produce(side int) {
	gen := newKeyGen(side, l.keys)
	var out [loopSides]*loopKeys
	for i := range out {
		out[i] = l.take()
	}
	keys := make([]int64, loopBatch)
	for !l.stop.Load() {
		l.produced[side].Sum += gen.fill(keys)
		l.produced[side].Rows += loopBatch
		for _, k := range keys {
			h := state.HashInt64(k)
			to := h & (loopGroups - 1) * loopSides / loopGroups
			b := out[to]
			b.keys[b.n], b.hashes[b.n] = k, h
			if b.n++; b.n == loopBatch {
				l.channels[side][to] <- b
				out[to] = l.take()
			}
		}
	}
	for to, b := range out {
		l.channels[side][to] <- b
		close(l.channels[side][to])
	}
}

func (l *loop) count(side int) {
	tables := make([]*loopTable, loopGroups)
	for i := range tables {
		tables[i] = newLoopTable(1)
	}
	sealAt := time.Now().Add(sealEvery)
	a, b := l.channels[0][side], l.channels[1][side]
	for batches := 1; a != nil || b != nil; batches++ {
		var in *loopKeys
		select {
		case in = <-a:
			if in == nil {
				a = nil
				continue
			}
		case in = <-b:
			if in == nil {
				b = nil
				continue
			}
		}
		for i, h := range in.hashes[:in.n] {
			tables[h&(loopGroups-1)].add(in.keys[i], h, 1)
		}
		l.pool.Put(in)
		if batches%clockEvery == 0 && time.Now().After(sealAt) {
			seal(tables)
			sealAt = sealAt.Add(sealEvery)
		}
	}
	l.total(side, tables)
}

func seal(tables []*loopTable) {
	for _, t := range tables {
		for i := range t.sealed {
			t.sealed[i] = true
		}
	}
}

// total adds up what was counted.
func (l *loop) total(side int, tables []*loopTable) {
	m := &l.counted[side]
	m.End = time.Now().UnixNano()
	for _, t := range tables {
		for _, p := range t.pages {
			for _, s := range p {
				if s.key != 0 {
					m.Rows += s.count
					m.Sum += (s.key - 1) * s.count
				}
			}
		}
	}
}

// bareLoop counts for a while.
func bareLoop(keys uint64, d time.Duration) (result, error) {
	l := &loop{keys: keys}
	l.pool.New = func() any { return new(loopKeys) }
	for i := range l.channels {
		for j := range l.channels[i] {
			l.channels[i][j] = make(chan *loopKeys, loopQueue)
		}
	}
	start := time.Now()
	timer := time.AfterFunc(d, func() { l.stop.Store(true) })
	defer timer.Stop()
	var wg sync.WaitGroup
	for side := range loopSides {
		wg.Go(func() { l.produce(side) })
		wg.Go(func() { l.count(side) })
	}
	wg.Wait()
	in, out := addMarks(l.produced[:]), addMarks(l.counted[:])
	if in.Rows != out.Rows || in.Sum != out.Sum {
		return result{}, fmt.Errorf("the bare loop made %d keys with sum %d and counted %d with sum %d", in.Rows, in.Sum, out.Rows, out.Sum)
	}
	took := time.Unix(0, out.End).Sub(start)
	return result{Records: in.Rows, Seconds: took.Seconds(), Rate: float64(in.Rows) / took.Seconds()}, nil
}

// addMarks adds up the marks of subtasks: rows and sums together, from the first start to the last end.
func addMarks(ms []mark) mark {
	var all mark
	for _, m := range ms {
		all.Rows += m.Rows
		all.Sum += m.Sum
		if m.Start != 0 && (all.Start == 0 || m.Start < all.Start) {
			all.Start = m.Start
		}
		all.End = max(all.End, m.End)
	}
	return all
}
