// SPDX-License-Identifier: Apache-2.0

package barrier_test

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/weir-stream/weir/runtime/barrier"
	"github.com/weir-stream/weir/runtime/record"
)

// row is a batch of one row.
type row struct {
	record.Refs
	n int
}

func (*row) Len() int         { return 1 }
func (*row) Hashes() []uint64 { return nil }
func (r *row) Release()       { r.Drop() }

// held counts holders that are left: dropping them one by one tells.
func (r *row) held() int {
	n := 1
	for ; !r.Drop(); n++ {
	}
	return n
}

// model is a task with queues, and what its snapshots must hold.
type model struct {
	t        *testing.T
	seed     uint64
	rnd      *rand.Rand
	clk      clock
	o        *barrier.Overtaker
	queues   [][]record.Element
	sent     [][]int         // rows sent by channel
	before   []map[int64]int // rows before the barrier of a snapshot, by channel
	lastSent []int64
	ended    []bool // the end was sent
	read     []int
	readEnd  []bool
	blocked  []bool
	news     []barrier.Arrival

	capture *barrier.Capture
	overID  int64
	atOver  []int // rows read when the barrier overtook
	rows    []*row
	last    int64
	taken   map[int64]bool
	full    int
}

func newModel(t *testing.T, seed uint64) *model {
	t.Helper()
	m := &model{t: t, seed: seed, rnd: rand.New(rand.NewPCG(seed, 7)), taken: map[int64]bool{}}
	n := 1 + m.rnd.IntN(4)
	m.o = barrier.NewOvertaker(n, m.clk.now)
	m.queues, m.sent, m.before = make([][]record.Element, n), make([][]int, n), make([]map[int64]int, n)
	m.lastSent, m.ended, m.read, m.readEnd, m.blocked = make([]int64, n), make([]bool, n), make([]int, n), make([]bool, n), make([]bool, n)
	for ch := range n {
		m.before[ch] = map[int64]int{}
	}
	return m
}

// barrierOf is the same for all channels: its mode follows from the id.
func barrierOf(id int64) record.Barrier {
	b := record.Barrier{Checkpoint: id, Unaligned: id%4 != 0}
	if id%4 == 3 {
		b.AlignmentTimeout = 20
	}
	return b
}

// push appends an element to a queue, tells a capture under way, and the consumer later.
func (m *model) push(ch int, e record.Element) {
	m.queues[ch] = append(m.queues[ch], e)
	if m.capture != nil {
		m.capture.Add(ch, e)
	}
	if e.Kind != record.KindBatch {
		m.news = append(m.news, barrier.Arrival{Channel: ch, Element: e})
	}
}

func (m *model) send(ch int) {
	if m.ended[ch] {
		return
	}
	switch k := m.rnd.IntN(40); {
	case k < 24:
		r := &row{n: len(m.sent[ch])}
		r.Reset()
		m.rows = append(m.rows, r)
		m.sent[ch] = append(m.sent[ch], r.n)
		m.push(ch, record.OfBatch(r))
	case k < 37:
		id := m.lastSent[ch] + 1
		if m.rnd.IntN(6) == 0 {
			id++
		}
		m.lastSent[ch], m.before[ch][id] = id, len(m.sent[ch])
		m.push(ch, record.OfBarrier(barrierOf(id)))
	case k < 39:
		m.lastSent[ch]++
		m.push(ch, record.OfCancelBarrier(m.lastSent[ch]))
	default:
		if m.rnd.IntN(4) == 0 {
			m.ended[ch] = true
			m.push(ch, record.End())
		}
	}
}

func (m *model) receive(ch int) {
	if m.blocked[ch] || len(m.queues[ch]) == 0 {
		return
	}
	e := m.queues[ch][0]
	m.queues[ch] = m.queues[ch][1:]
	switch e.Kind {
	case record.KindBatch:
		if got := e.Batch.(*row).n; got != m.read[ch] {
			m.t.Fatalf("seed %d: read row %d of channel %d, want %d", m.seed, got, ch, m.read[ch])
		}
		m.read[ch]++
		e.Batch.Release()
	case record.KindBarrier:
		m.apply(m.o.Barrier(ch, e.Barrier))
	case record.KindCancelBarrier:
		m.apply(m.o.Cancel(ch, e.Barrier.Checkpoint))
	default:
		m.readEnd[ch] = true
		m.apply(m.o.End(ch))
	}
}

func (m *model) drop() {
	if m.capture != nil {
		m.capture.Release()
		m.capture = nil
	}
}

func (m *model) apply(steps []barrier.Step) {
	for _, s := range steps {
		id := s.Barrier.Checkpoint
		switch s.Kind {
		case barrier.Block:
			m.blocked[s.Channel] = true
		case barrier.Unblock:
			clear(m.blocked)
		case barrier.Trigger:
			m.begun(id)
			m.check(id, nil, m.read)
		case barrier.Overtake:
			m.begun(id)
			m.overtake(id)
		case barrier.Delivered:
			if m.capture == nil || m.overID != id {
				m.t.Fatalf("seed %d: snapshot %d is delivered and %d was begun", m.seed, id, m.overID)
			}
			m.check(id, m.capture, m.atOver)
			m.full++
			m.drop()
		case barrier.Abort:
			if m.capture != nil && m.overID == id {
				m.drop()
			}
		case barrier.Start:
		}
	}
}

func (m *model) begun(id int64) {
	if id <= m.last || m.capture != nil {
		m.t.Fatalf("seed %d: snapshot %d begins after %d, capturing %d", m.seed, id, m.last, m.overID)
	}
	m.last = id
}

func (m *model) overtake(id int64) {
	if !barrierOf(id).Unaligned {
		m.t.Fatalf("seed %d: the aligned snapshot %d overtakes", m.seed, id)
	}
	past := make([]bool, len(m.queues))
	for ch := range past {
		past[ch] = m.o.Past(ch, id)
	}
	m.capture, m.overID, m.atOver = barrier.NewCapture(id, past), id, slices.Clone(m.read)
	for ch, q := range m.queues {
		for _, e := range q {
			m.capture.Add(ch, e)
		}
	}
}

// check compares what was read before the snapshot, and what it captured, with what was sent before its barriers.
func (m *model) check(id int64, c *barrier.Capture, read []int) {
	for ch := range m.queues {
		want, ok := m.before[ch][id]
		if !ok {
			if !m.ended[ch] || m.lastSent[ch] > id {
				m.t.Fatalf("seed %d: snapshot %d though channel %d, at %d, never sent its barrier", m.seed, id, ch, m.lastSent[ch])
			}
			want = len(m.sent[ch])
		}
		got := read[ch]
		if c != nil {
			for _, b := range c.Channel(ch) {
				if b.(*row).n != got {
					m.t.Fatalf("seed %d: snapshot %d captured row %d of channel %d, want %d", m.seed, id, b.(*row).n, ch, got)
				}
				got++
			}
		}
		if got != want {
			m.t.Fatalf("seed %d: snapshot %d holds %d rows of channel %d, want %d", m.seed, id, got, ch, want)
		}
	}
}

// TestOvertaker_Random checks whole runs: with any order of arrival, announcement and reading, what a snapshot processed and captured is
// exactly what was sent before its barriers; nothing stays blocked; every batch is given back.
func TestOvertaker_Random(t *testing.T) {
	t.Parallel()
	full, aligned := 0, 0
	for seed := range uint64(3000) {
		m := newModel(t, seed)
		for range 200 {
			ch := m.rnd.IntN(len(m.queues))
			switch k := m.rnd.IntN(20); {
			case k < 10:
				m.send(ch)
			case k < 14:
				m.receive(ch)
			case k < 19:
				if len(m.news) > 0 {
					r := m.news[0]
					m.news = m.news[1:]
					m.apply(m.o.Arrived(r))
				}
			default:
				m.clk.t = m.clk.t.Add(time.Duration(m.rnd.IntN(30)))
				m.apply(m.o.Tick(m.clk.t))
			}
		}
		m.finish()
		full += m.full
		aligned += int(m.last)
	}
	if full < 1000 || aligned < 1000 {
		t.Errorf("%d snapshots overtook and %d were begun: too few to mean anything", full, aligned)
	}
}

// finish ends all channels and reads everything.
func (m *model) finish() {
	for ch := range m.queues {
		if !m.ended[ch] {
			m.ended[ch] = true
			m.push(ch, record.End())
		}
	}
	for range 1000 {
		for ch := range m.queues {
			m.receive(ch)
		}
	}
	for _, r := range m.news {
		m.apply(m.o.Arrived(r))
	}
	for ch := range m.queues {
		if !m.readEnd[ch] || m.read[ch] != len(m.sent[ch]) {
			m.t.Fatalf("seed %d: channel %d is stuck: %d of %d rows read", m.seed, ch, m.read[ch], len(m.sent[ch]))
		}
	}
	if m.capture != nil {
		m.t.Fatalf("seed %d: snapshot %d still captures", m.seed, m.overID)
	}
	for _, r := range m.rows {
		r.Retain(1) // the last holder was the reader
		if n := r.held(); n != 1 {
			m.t.Fatalf("seed %d: row %d has %d holders too many", m.seed, r.n, n-1)
		}
	}
}
