// SPDX-License-Identifier: Apache-2.0

package simtest

import (
	"errors"
	"fmt"
	"math/bits"
	"slices"
	"strings"
)

// ledger is the outside of the job: what its sinks made visible, and what its sources may have dropped. It outlives all
// workers and coordinators.
type ledger struct {
	transactions map[string]*transaction
	// prepared lists the transactions of each snapshot.
	prepared map[int64][]string
	// sinks holds for each sink and key the rows that are visible.
	sinks map[string]map[int64]*visible
	// trimmed is the position of each split that the source was told to be safe.
	trimmed map[string]int64
	// lax lets rows be visible more than once.
	lax bool
	// loose is for jobs that keep rows back over snapshots: what is visible before the end may have gaps.
	loose bool
	// before is what the job had shown, or prepared, before the savepoint that this one starts from; nil if it starts empty.
	before map[string]map[int64]*visible
	fail   func(format string, args ...any)
}

type transactionState uint8

const (
	prepared transactionState = iota
	committed
	aborted
)

type transaction struct {
	sink  string
	state transactionState
	rows  []row
	// subtask and snapshot are those that it was prepared by and for.
	subtask  int
	snapshot int64
}

// visible has a bit for each row of a key that was committed.
type visible struct{ rows, counts [2]uint64 }

func newLedger(fail func(format string, args ...any)) *ledger {
	return &ledger{transactions: map[string]*transaction{}, prepared: map[int64][]string{}, sinks: map[string]map[int64]*visible{}, trimmed: map[string]int64{}, fail: fail}
}

// prepare stores the rows of a transaction; they aren't visible yet.
func (l *ledger) prepare(id, sink string, rows []row) {
	if l.transactions[id] != nil {
		l.fail("transaction %s is prepared twice", id)
	}
	t := &transaction{sink: sink, rows: rows, subtask: transactionSubtask(id), snapshot: transactionSnapshot(id)}
	l.transactions[id] = t
	l.prepared[t.snapshot] = append(l.prepared[t.snapshot], id)
}

// commit makes the rows visible; it may be repeated.
func (l *ledger) commit(id string) {
	t := l.transactions[id]
	switch {
	case t == nil:
		l.fail("transaction %s is committed but was never prepared", id)
	case t.state == aborted:
		l.fail("transaction %s is committed after it was aborted: its rows are lost", id)
	case t.state == prepared:
		t.state = committed
		for _, r := range t.rows {
			l.show(id, t.sink, r)
		}
	}
}

func (l *ledger) show(id, sink string, r row) {
	keys := l.sinks[sink]
	if keys == nil {
		keys = map[int64]*visible{}
		l.sinks[sink] = keys
	}
	v := keys[r.key]
	if v == nil {
		v = &visible{}
		keys[r.key] = v
	}
	first, counted := setBit(&v.rows, r.seq), setBit(&v.counts, r.count)
	if l.lax {
		return
	}
	if !first {
		l.fail("row %d of key %d is visible twice in sink %s, the second time by transaction %s", r.seq, r.key, sink, id)
	}
	if !counted {
		l.fail("count %d of key %d is visible twice in sink %s, the second time by transaction %s", r.count, r.key, sink, id)
	}
}

// abortOthers gives up the prepared transactions of a sink that begin with prefix, were made by an older attempt and aren't to be kept.
func (l *ledger) abortOthers(prefix string, older func(id string) bool, keep []string) {
	for id, t := range l.transactions {
		if t.state == prepared && strings.HasPrefix(id, prefix) && older(id) && !slices.Contains(keep, id) {
			t.state = aborted // its rows stay: a savepoint may hold them
		}
	}
}

// check compares what is visible in a sink with what a sequential run yields: rows 1..max of every key, once.
func (l *ledger) check(sink string, keys []int64, rowsPerKey int64, complete bool) error {
	for _, k := range keys {
		v, old := visibleOf(l.sinks, sink, k), visibleOf(l.before, sink, k)
		if err := l.checkKey(*v, *old, rowsPerKey, complete); err != nil {
			return fmt.Errorf("sink %s, key %d: %w: rows %x, counts %x, before rows %x, counts %x", sink, k, err, v.rows, v.counts, old.rows, old.counts)
		}
	}
	if len(l.sinks[sink]) > len(keys) {
		return fmt.Errorf("sink %s shows %d keys, want %d", sink, len(l.sinks[sink]), len(keys))
	}
	return nil
}

func (l *ledger) checkKey(v, old visible, rowsPerKey int64, complete bool) error {
	all := visible{rows: union(v.rows, old.rows), counts: union(v.counts, old.counts)}
	n := count(all.rows)
	switch {
	case !l.lax && (count(v.rows)+count(old.rows) > n || count(v.counts)+count(old.counts) > count(all.counts)):
		return errors.New("rows from before the savepoint are visible again")
	case complete && n != rowsPerKey:
		return fmt.Errorf("%d rows of %d are visible", n, rowsPerKey)
	case !l.lax && (complete || !l.loose) && (all.rows != run(n) || all.counts != run(n)):
		return errors.New("rows are visible with gaps")
	}
	return nil
}

func visibleOf(sinks map[string]map[int64]*visible, sink string, key int64) *visible {
	if v := sinks[sink][key]; v != nil {
		return v
	}
	return &visible{}
}

// maxRows is how many rows a key can have.
const maxRows = 127

// setBit sets bit n and says whether it was unset.
func setBit(b *[2]uint64, n int64) bool {
	if n < 1 || n > maxRows {
		return false
	}
	w, m := &b[n>>6], uint64(1)<<(n&63)
	if *w&m != 0 {
		return false
	}
	*w |= m
	return true
}

// count returns how many bits are set.
func count(b [2]uint64) int64 { return int64(bits.OnesCount64(b[0]) + bits.OnesCount64(b[1])) }

func union(a, b [2]uint64) [2]uint64 { return [2]uint64{a[0] | b[0], a[1] | b[1]} }

// run returns the bits from 1 to n.
func run(n int64) (b [2]uint64) {
	for i := int64(1); i <= n; i++ {
		setBit(&b, i)
	}
	return b
}
