// SPDX-License-Identifier: Apache-2.0

package barrier_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/weir-stream/weir/runtime/barrier"
	"github.com/weir-stream/weir/runtime/record"
)

// counting says what a tracker should do, and keeps all it was told.
type counting struct {
	channels int
	// came are the channels that brought something of a snapshot, over says what became of it.
	came   map[int64]map[int]bool
	ended  map[int]bool
	over   map[int64]string
	newest int64
	steps  []string
}

func (m *counting) note(format string, id int64) { m.steps = append(m.steps, fmt.Sprintf(format, id)) }

func (m *counting) arrive(ch int, id int64, canceled bool) {
	if id <= m.newest {
		return
	}
	if m.came[id] == nil {
		m.came[id] = map[int]bool{}
		m.note("start%d", id)
	}
	m.came[id][ch] = true
	if canceled && m.over[id] == "" {
		m.over[id] = "canceled"
		m.note("abort%d(CancelBarrier)", id)
	}
	m.settle()
}

func (m *counting) end(ch int) {
	m.ended[ch] = true
	m.settle()
}

// complete says that no channel can bring anything more of a snapshot.
func (m *counting) complete(id int64) bool {
	for ch := range m.channels {
		if !m.came[id][ch] && !m.ended[ch] {
			return false
		}
	}
	return true
}

// settle triggers what is complete, and gives up what was overtaken.
func (m *counting) settle() {
	var ids []int64
	for id := range m.came {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	for i, id := range ids {
		if m.over[id] != "" || !m.complete(id) {
			continue
		}
		for _, older := range ids[:i] {
			if m.over[older] == "" {
				m.over[older] = "subsumed"
				m.note("abort%d(Subsumed)", older)
			}
		}
		m.over[id], m.newest = "triggered", id
		m.note("TRIGGER%d", id)
	}
}

// sent is what a channel brings: positive ids are barriers, negative ones cancel-barriers, 0 is its end.
func sent(rnd *rand.Rand, ids int64) []int64 {
	var out []int64
	for id := int64(1); id <= ids; id++ {
		switch rnd.IntN(10) {
		case 0: // a snapshot that somebody before gave up for a newer one, or that began after the end there
		case 1, 2:
			out = slices.Insert(out, rnd.IntN(len(out)+1), -id) // it may come before barriers of older ones
		case 3:
			out = append(out, id, id)
		default:
			out = append(out, id)
		}
	}
	if rnd.IntN(3) == 0 {
		out = out[:rnd.IntN(len(out)+1)]
	}
	return append(out, 0)
}

// TestTracker_Random checks step by step against a plain model, and at the end that no snapshot was left without a word that is over for every
// channel, and that none was given up that could be completed.
func TestTracker_Random(t *testing.T) {
	t.Parallel()
	triggered, behind := 0, 0
	for seed := range uint64(3000) {
		rnd := rand.New(rand.NewPCG(seed, 3))
		n := 1 + rnd.IntN(4)
		h := barrier.NewTracker(n)
		m := &counting{channels: n, came: map[int64]map[int]bool{}, ended: map[int]bool{}, over: map[int64]string{}}
		queues, all := make([][]int64, n), make([][]int64, n)
		for ch := range n {
			queues[ch] = sent(rnd, 10)
			all[ch] = queues[ch]
		}
		for len(m.ended) < n {
			ch := rnd.IntN(n)
			if len(queues[ch]) == 0 {
				continue
			}
			id := queues[ch][0]
			queues[ch] = queues[ch][1:]
			m.steps = nil
			var steps []barrier.Step
			switch {
			case id > 0:
				steps = h.Barrier(ch, record.Barrier{Checkpoint: id})
				m.arrive(ch, id, false)
			case id < 0:
				steps = h.Cancel(ch, -id)
				m.arrive(ch, -id, true)
			default:
				steps = h.End(ch)
				m.end(ch)
			}
			want := strings.Join(m.steps, ",")
			if want == "" {
				want = "-"
			}
			if got := text(steps); got != want {
				t.Fatalf("seed %d: %v: element %d of channel %d: got %s, want %s", seed, all, id, ch, got, want)
			}
		}
		for id := int64(1); id <= 10; id++ {
			switch got := m.over[id]; {
			case got == "" && (m.came[id] != nil || brought(all, id) && !slices.ContainsFunc(all, func(q []int64) bool { return skips(q, id) })):
				t.Errorf("seed %d: %v: snapshot %d was neither triggered nor given up", seed, all, id)
			case got == "canceled" && !slices.ContainsFunc(all, func(q []int64) bool { return slices.Contains(q, -id) }):
				t.Errorf("seed %d: %v: snapshot %d was canceled by nobody", seed, all, id)
			case got == "subsumed" && !slices.ContainsFunc(all, func(q []int64) bool { return skips(q, id) }):
				t.Errorf("seed %d: %v: snapshot %d was given up, though all its barriers came", seed, all, id)
			case got == "triggered":
				triggered++
				if slices.ContainsFunc(all, func(q []int64) bool { return canceledBefore(q, id) }) {
					behind++
				}
			}
		}
	}
	if triggered < 1000 || behind < 1000 {
		t.Errorf("%d snapshots were triggered, %d of them behind a cancel-barrier of a newer one: too few to mean anything", triggered, behind)
	}
}

// brought says that a channel brought something of a snapshot.
func brought(all [][]int64, id int64) bool {
	return slices.ContainsFunc(all, func(q []int64) bool { return slices.Contains(q, id) || slices.Contains(q, -id) })
}

// skips says that a channel went on to a barrier of a newer snapshot without one of this.
func skips(q []int64, id int64) bool {
	return !slices.Contains(q, id) && slices.ContainsFunc(q, func(x int64) bool { return x > id })
}

// canceledBefore says that a channel brought a cancel-barrier of a newer snapshot before the barrier of this.
func canceledBefore(q []int64, id int64) bool {
	i := slices.Index(q, id)
	return i > 0 && slices.ContainsFunc(q[:i], func(x int64) bool { return -x > id })
}
