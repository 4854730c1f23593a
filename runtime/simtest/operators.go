// SPDX-License-Identifier: Apache-2.0

package simtest

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"
	"unsafe"

	"github.com/weir-stream/weir/runtime/operator"
	"github.com/weir-stream/weir/runtime/record"
	"github.com/weir-stream/weir/runtime/state"
)

// outside is what the operators of a run share: the ledger, chance, and faults.
type outside struct {
	*ledger
	rnd *rand.Rand
	// newestAttempt is the newest one that the head names of the region that a vertex is in.
	newestAttempt func(vertex string) string
	// lax is for at least once: rows may come again, but none may be lost.
	lax      bool
	mutation Mutation
	// keep makes sources keep all input.
	keep bool
	// commitFails says whether a commit fails now.
	commitFails func() bool
}

// source replays rows by position. Its input is cut into splits; a split has keys of its own.
type source struct {
	out  *outside
	spec *sourceSpec
	name string
	ctx  *operator.Context

	splits  []split
	next    int
	pending []sourcePosition // of snapshots that may be complete one day
}

// sourceSpec is the input of a source.
type sourceSpec struct {
	firstKey     int64
	splits       int
	keysPerSplit int64
	rowsPerKey   int64
	// pause is the longest time between two polls.
	pause time.Duration
	// union gives the positions of all subtasks to all, and each keeps those of its own splits.
	union bool
	// endless makes it wait for more at the end of its rows.
	endless bool
}

type split struct{ id, pos int64 }

type sourcePosition struct {
	checkpoint int64
	splits     []split
}

// Open implements operator.Source.
func (s *source) Open(_ context.Context, c *operator.Context) error {
	s.ctx, s.name = c, c.Name
	if c.RestoredFrom == 0 {
		for i := range s.spec.splits {
			if i%c.Parallelism == c.Subtask {
				s.splits = append(s.splits, split{id: int64(i)})
			}
		}
		return nil
	}
	for _, e := range c.List("splits") {
		sp := split{id: int64(binary.LittleEndian.Uint64(e)), pos: int64(binary.LittleEndian.Uint64(e[8:]))}
		if s.spec.union && int(sp.id)%c.Parallelism != c.Subtask {
			continue
		}
		if trimmed := s.out.trimmed[s.splitName(sp.id)]; trimmed > sp.pos {
			if olderAttempt(c.Attempt, s.out.newestAttempt(c.Name)) {
				return errors.New("the input before the position is gone") // a late deployment that nobody waits for
			}
			s.out.fail("source %s goes on from row %d of split %d, but it was told that %d are safe", s.name, sp.pos, sp.id, trimmed)
		}
		s.splits = append(s.splits, sp)
	}
	return nil
}

func (s *source) splitName(id int64) string { return fmt.Sprintf("%s/%d", s.name, id) }

// pausesOf is of how many polls one has the longest pause, on average: one in half as many has half of it.
const pausesOf = 6

// Poll implements operator.Source.
func (s *source) Poll() (operator.Polled, error) {
	total := s.spec.keysPerSplit * s.spec.rowsPerKey
	for range s.splits {
		sp := &s.splits[s.next%len(s.splits)]
		s.next++
		if sp.pos == total {
			continue
		}
		var rows []row
		for range 1 + s.out.rnd.IntN(4) {
			if sp.pos < total {
				k := s.spec.firstKey + sp.id*s.spec.keysPerSplit + sp.pos%s.spec.keysPerSplit
				rows = append(rows, row{key: k, seq: sp.pos/s.spec.keysPerSplit + 1})
				sp.pos++
			}
		}
		p := operator.Polled{Batch: newBatch(rows)}
		if s.out.rnd.IntN(pausesOf/2) == 0 {
			p.State = operator.Wait
			p.WakeAt = s.ctx.Now().Add(time.Duration(s.out.rnd.Int64N(int64(s.spec.pause))))
		}
		if s.out.rnd.IntN(8) == 0 {
			p.Watermark = sp.pos
		}
		return p, nil
	}
	if s.spec.endless {
		return operator.Polled{State: operator.Wait, Idle: s.out.rnd.IntN(2) == 0}, nil
	}
	return operator.Polled{State: operator.End}, nil
}

// Snapshot implements operator.Stateful.
func (s *source) Snapshot(b record.Barrier) (operator.AsyncSnapshot, error) {
	at := sourcePosition{checkpoint: b.Checkpoint, splits: append([]split(nil), s.splits...)}
	if b.Kind == record.Checkpoint || b.Stop != record.StopNone {
		s.pending = append(s.pending, at)
	}
	if s.out.mutation == EarlyTrim {
		s.trim(at)
	}
	return func(context.Context) ([]operator.List, error) {
		l := operator.List{Name: "splits"}
		if s.spec.union {
			l.Mode = operator.Union
		}
		if s.out.mutation == LateState {
			at.splits = s.splits
		}
		for _, sp := range at.splits {
			l.Entries = append(l.Entries, binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(nil, uint64(sp.id)), uint64(sp.pos)))
		}
		return []operator.List{l}, nil
	}, nil
}

// NotifyComplete implements operator.Listener. Where snapshots get damaged the input is kept.
func (s *source) NotifyComplete(_ context.Context, checkpoint int64) error {
	for len(s.pending) > 0 && s.pending[0].checkpoint <= checkpoint && !s.out.keep {
		s.trim(s.pending[0])
		s.pending = s.pending[1:]
	}
	return nil
}

// trim gives up the input before a position.
func (s *source) trim(at sourcePosition) {
	for _, sp := range at.splits {
		s.out.trimmed[s.splitName(sp.id)] = max(s.out.trimmed[s.splitName(sp.id)], sp.pos)
	}
}

// NotifyAborted implements operator.Listener.
func (s *source) NotifyAborted(checkpoint int64) {
	for i, p := range s.pending {
		if p.checkpoint == checkpoint {
			s.pending = append(s.pending[:i:i], s.pending[i+1:]...)
			return
		}
	}
}

// Close implements operator.Source.
func (s *source) Close() error { return nil }

// shift adds an offset to keys, of each input its own. It emits each batch as it is, or row by row, which makes it pause half-way.
type shift struct {
	offsets []int64
	single  bool
	ctx     *operator.Context
	rest    []row
}

// Open implements operator.Operator.
func (m *shift) Open(_ context.Context, c *operator.Context) error {
	m.ctx = c
	return nil
}

// Process implements operator.Operator.
func (m *shift) Process(input int, b record.Batch) (operator.Status, error) {
	x := b.(*batch)
	x.check()
	rows := make([]row, len(x.rows))
	for i, r := range x.rows {
		r.key += m.offsets[input]
		rows[i] = r
	}
	if !m.single {
		return m.ctx.Out.Emit(newBatch(rows))
	}
	if len(m.rest) > 0 {
		return operator.Done, errors.New("a batch arrived before the last one was taken in full")
	}
	m.rest = rows
	return m.Resume()
}

// Resume implements operator.Operator.
func (m *shift) Resume() (operator.Status, error) {
	for len(m.rest) > 0 {
		r := m.rest[0]
		m.rest = m.rest[1:]
		if s, err := m.ctx.Out.Emit(newBatch([]row{r})); s == operator.Paused || err != nil {
			return s, err
		}
	}
	return operator.Done, nil
}

// Close implements operator.Operator.
func (m *shift) Close() error { return nil }

// counter counts the rows of each key in keyed state and checks that each comes once, in order if order is kept.
type counter struct {
	out     *outside
	ordered bool
	ctx     *operator.Context
	table   *state.Table
	// sizes is a second state with values of variable size: one byte for each row.
	sizes *state.Table
}

// keyState is the value of a key.
type keyState struct {
	count int64
	seen  [2]uint64
}

// Open implements operator.Operator.
func (k *counter) Open(_ context.Context, c *operator.Context) error {
	k.ctx = c
	var err error
	k.table, err = c.Keyed.Table(state.Descriptor{Name: "count", Keys: state.Int64Keys, ValueSize: int(unsafe.Sizeof(keyState{}))})
	if err != nil {
		return err
	}
	k.sizes, err = c.Keyed.Table(state.Descriptor{Name: "sizes", Keys: state.Int64Keys})
	return err
}

// Process implements operator.Operator.
func (k *counter) Process(_ int, b record.Batch) (operator.Status, error) {
	x := b.(*batch)
	x.check()
	out := newBatch(make([]row, 0, len(x.rows)))
	for _, r := range x.rows {
		st := k.count(r)
		r.count = st.count
		out.rows = append(out.rows, r)
	}
	return k.ctx.Out.Emit(out)
}

// count adds a row to the state of its key.
func (k *counter) count(r row) *keyState {
	h := state.HashInt64(r.key)
	v, _ := k.table.RefInt64(r.key, h)
	st := (*keyState)(v)
	first := setBit(&st.seen, r.seq)
	st.count++
	if old, _ := k.sizes.GetVarInt64(r.key, h); int64(len(old)) != st.count-1 {
		k.out.fail("%s/%d has %d bytes for key %d after %d rows", k.ctx.Name, k.ctx.Subtask, len(old), r.key, st.count-1)
	}
	k.sizes.PutVarInt64(r.key, h, []byte(strings.Repeat("x", int(st.count))))
	switch {
	case k.out.lax:
	case !first:
		k.out.fail("%s/%d counts row %d of key %d twice", k.ctx.Name, k.ctx.Subtask, r.seq, r.key)
	case k.ordered && st.count != r.seq:
		k.out.fail("%s/%d gets row %d of key %d after %d rows", k.ctx.Name, k.ctx.Subtask, r.seq, r.key, st.count-1)
	}
	return st
}

// Resume implements operator.Operator.
func (k *counter) Resume() (operator.Status, error) { return operator.Done, nil }

// Close implements operator.Operator.
func (k *counter) Close() error { return nil }

// sink writes rows in transactions: prepared with a snapshot, committed when that is complete.
type sink struct {
	out *outside
	// union gives the handles of all subtasks to all, so that the first can abort what no snapshot holds.
	union bool
	ctx   *operator.Context

	rows    []row
	pending []handle
}

type handle struct {
	checkpoint int64
	id         string
}

// Open implements operator.Operator.
func (s *sink) Open(_ context.Context, c *operator.Context) error {
	s.ctx = c
	var keep []string
	for _, e := range c.List("transactions") {
		if !strings.HasPrefix(string(e), c.JobID+" ") && s.out.mutation != ForkTouchesOrigin {
			continue // of the job that this one started from
		}
		if s.out.mutation == RestoreSkipsCommit {
			continue
		}
		if s.out.commitFails() {
			return errors.New("committing a transaction of the restored snapshot: the outside doesn't answer")
		}
		s.out.commit(string(e))
		keep = append(keep, string(e))
	}
	if s.union && c.Subtask == 0 {
		older := func(id string) bool { return olderAttempt(transactionAttempt(id), c.Attempt) }
		s.out.abortOthers(s.prefix(), older, keep)
	}
	return nil
}

func (s *sink) prefix() string { return s.ctx.JobID + " " + s.ctx.Name + " " }

// olderAttempt compares attempts in the form "grant-n-k".
func olderAttempt(a, b string) bool {
	var x, y [3]int
	_, _ = fmt.Sscanf(a, "%d-%d-%d", &x[0], &x[1], &x[2])
	_, _ = fmt.Sscanf(b, "%d-%d-%d", &y[0], &y[1], &y[2])
	return slices.Compare(x[:], y[:]) < 0
}

// transactionAttempt is the attempt in the name of a transaction.
func transactionAttempt(id string) string {
	return strings.Split(id, " ")[2]
}

// transactionSubtask is the subtask in the name of a transaction.
func transactionSubtask(id string) int {
	n, _ := strconv.Atoi(strings.Split(id, " ")[3])
	return n
}

// transactionSnapshot is the snapshot in the name of a transaction.
func transactionSnapshot(id string) int64 {
	n, _ := strconv.ParseInt(strings.Split(id, " ")[4], 10, 64)
	return n
}

// Process implements operator.Operator.
func (s *sink) Process(_ int, b record.Batch) (operator.Status, error) {
	x := b.(*batch)
	x.check()
	s.rows = append(s.rows, x.rows...)
	return operator.Done, nil
}

// Resume implements operator.Operator.
func (s *sink) Resume() (operator.Status, error) { return operator.Done, nil }

// Snapshot implements operator.Stateful.
func (s *sink) Snapshot(b record.Barrier) (operator.AsyncSnapshot, error) {
	rows := s.rows
	s.rows = nil
	prepare := func() {}
	if len(rows) > 0 {
		h := handle{b.Checkpoint, fmt.Sprintf("%s%s %d %d", s.prefix(), s.ctx.Attempt, s.ctx.Subtask, b.Checkpoint)}
		s.pending = append(s.pending, h)
		prepare = func() { s.out.prepare(h.id, s.ctx.Name, rows) }
	}
	l := operator.List{Name: "transactions"}
	if s.union {
		l.Mode = operator.Union
	}
	for _, h := range s.pending {
		l.Entries = append(l.Entries, []byte(h.id))
	}
	// An abort may cancel the asynchronous part, and the rows belong to the next snapshot then; so they are written now.
	prepare()
	return func(context.Context) ([]operator.List, error) { return []operator.List{l}, nil }, nil
}

// NotifyComplete implements operator.Listener.
func (s *sink) NotifyComplete(_ context.Context, checkpoint int64) error {
	for len(s.pending) > 0 && s.pending[0].checkpoint <= checkpoint {
		if s.out.commitFails() {
			return errors.New("committing a transaction: the outside doesn't answer")
		}
		s.out.commit(s.pending[0].id)
		s.pending = s.pending[1:]
	}
	return nil
}

// NotifyAborted implements operator.Listener.
func (s *sink) NotifyAborted(checkpoint int64) {
	if s.out.mutation == AbortDiscards {
		s.pending = slices.DeleteFunc(s.pending, func(h handle) bool { return h.checkpoint == checkpoint })
	}
}

// Close implements operator.Operator.
func (s *sink) Close() error { return nil }
