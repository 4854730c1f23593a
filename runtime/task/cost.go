// SPDX-License-Identifier: Apache-2.0

package task

import (
	"cmp"
	"slices"
	"time"

	"github.com/weir-stream/weir/runtime/graph"
	"github.com/weir-stream/weir/runtime/protocol"
	"github.com/weir-stream/weir/runtime/record"
)

const (
	// maxSlowest bounds the channels that are told for the time of their barrier, and those that are told for what was queued in them.
	maxSlowest = 3
	// quick is an alignment whose channels aren't worth telling, unless something was queued.
	quick = time.Millisecond
)

// hold is the time in which one channel was not read because its barrier was in.
type hold struct {
	channel int
	since   time.Time
	// When it is over: how long it was, and about the encoded size of what was queued then.
	time  time.Duration
	bytes int64
}

// release ends the time in which the alignment blocked channels, and returns what there is to say of each.
func (s *snapshots) release(now time.Time) []hold {
	holds := s.blocked
	s.blocked = nil
	for i := range holds {
		holds[i].time = now.Sub(holds[i].since)
	}
	return holds
}

// noteHolds keeps what the alignment of a snapshot cost its channels.
func (c *Core) noteHolds(b record.Barrier, holds []hold) {
	if s := c.snap.begun[b.Checkpoint]; s != nil {
		s.holds = holds
	}
}

// queued is about the encoded size of what waited in all of them.
func queued(holds []hold) (sum int64) {
	for i := range holds {
		sum += holds[i].bytes
	}
	return sum
}

// measureBlocked estimates the encoded size of what is queued in the channels that were blocked, by the size of one batch of each edge.
func (c *Core) measureBlocked(holds []hold) {
	inputs, ok := c.o.Inputs.(Measured)
	if !ok {
		return
	}
	perRow := map[*graph.PhysicalEdge]float64{}
	for i := range holds {
		rows, next := inputs.Queued(holds[i].channel)
		if next == nil || next.Len() == 0 {
			continue
		}
		e := c.channels[holds[i].channel].PhysicalEdge
		if perRow[e] == 0 {
			b, err := e.Type.AppendBatch(nil, next)
			if err != nil {
				continue
			}
			perRow[e] = float64(len(b)) / float64(next.Len())
		}
		holds[i].bytes = int64(perRow[e] * float64(rows))
	}
}

// channelCosts lists the channels that matter: those with the latest barriers, and those with the most bytes queued or overtaken. overtaken is
// as in [AsyncResult]. Of a snapshot that isn't followed any more, or of a task with one channel, there is nothing to say.
func (p *progress) channelCosts(f *followed, holds []hold, overtaken []int64) []protocol.ChannelCost {
	if f == nil || len(f.after) < 2 {
		return nil
	}
	all := make([]channelCost, 0, len(f.after))
	at := make([]int, len(f.after)) // the index in all, plus one
	worth := f.last.Sub(f.first) >= quick
	for ch, after := range f.after {
		if !f.arrived[ch] {
			continue
		}
		k := channelCost{ch: ch, ChannelCost: protocol.ChannelCost{Delay: after}}
		if ch+1 < len(overtaken) {
			k.OvertakenBytes = overtaken[ch+1]
		}
		worth = worth || k.OvertakenBytes > 0
		all = append(all, k)
		at[ch] = len(all)
	}
	for _, h := range holds {
		if i := at[h.channel]; i > 0 {
			all[i-1].Blocked, all[i-1].BlockedBytes = h.time, h.bytes
		}
		worth = worth || h.bytes > 0
	}
	if !worth {
		return nil
	}
	return p.mostCostly(all)
}

// channelCost is that of a channel which isn't named yet.
type channelCost struct {
	ch int
	protocol.ChannelCost
}

func (p *progress) mostCostly(all []channelCost) []protocol.ChannelCost {
	slices.SortStableFunc(all, func(a, b channelCost) int { return cmp.Compare(b.Delay, a.Delay) })
	if n := 2 * maxSlowest; len(all) > n {
		rest := all[maxSlowest:]
		slices.SortStableFunc(rest, func(a, b channelCost) int {
			return cmp.Or(cmp.Compare(b.BlockedBytes+b.OvertakenBytes, a.BlockedBytes+a.OvertakenBytes), cmp.Compare(b.Blocked, a.Blocked))
		})
		all = all[:n]
		slices.SortStableFunc(all[maxSlowest:], func(a, b channelCost) int { return cmp.Compare(b.Delay, a.Delay) })
	}
	out := make([]protocol.ChannelCost, len(all))
	for i := range all {
		out[i] = all[i].ChannelCost
		out[i].Channel = channelRef(p.channels[all[i].ch])
	}
	return out
}

// operatorCosts lists the operators that have state, of parts that go from the tail of the chain to its head.
func operatorCosts(parts []part) []protocol.OperatorCost {
	var out []protocol.OperatorCost
	for _, p := range slices.Backward(parts) {
		if p.keyed != nil || p.lists != nil {
			out = append(out, protocol.OperatorCost{Operator: p.link.node.Name, Sync: p.sync})
		}
	}
	return out
}
