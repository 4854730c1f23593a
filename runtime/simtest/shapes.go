// SPDX-License-Identifier: Apache-2.0

package simtest

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/weir-stream/weir/runtime/graph"
)

// Offsets that keep the keys of different paths apart.
const (
	shiftOffset   = 100_000
	moveOffset    = 1_000_000
	diamondOffset = 10_000_000
	connectOffset = 100_000_000
)

// addNodes makes the graph: one to three sources, each perhaps with a shift behind it; of these ends some are split and united
// (a diamond), taken together by an operator with two inputs, or broadcast, or delayed; all are united by key in a counter. Behind that come
// perhaps a second counter, and one to three sinks.
func (s *scenario) addNodes(r *rand.Rand) {
	var ends []*node
	for i := range 1 + r.IntN(3) {
		ends = append(ends, s.addSource(r, i))
	}
	if r.IntN(4) == 0 {
		i := r.IntN(len(ends))
		end := ends[i]
		ends = append(slices.Delete(ends, i, i+1), s.addDiamond(r, end)...)
	}
	if len(ends) > 1 && r.IntN(3) == 0 {
		ends = append(ends[2:], s.addConnect(r, ends[0], ends[1]))
	}
	if r.IntN(5) == 0 {
		ends[0] = s.addBroadcast(r, ends[0])
	}
	if r.IntN(4) == 0 {
		i := r.IntN(len(ends))
		ends[i] = s.add(r, &node{
			kind: delayNode, name: "delay", delay: 1 + r.Int64N(400), keys: ends[i].keys,
			inputs: []input{{from: ends[i].name, partition: graph.Hash}},
		})
	}
	first := &node{kind: counterNode, name: "count"}
	for _, end := range ends {
		first.inputs = append(first.inputs, input{from: end.name, partition: graph.Hash})
		first.keys = append(first.keys, end.keys...)
	}
	s.add(r, first)
	last := first
	if r.IntN(2) == 0 {
		move := s.add(r, &node{
			kind: shiftNode, name: "move", offsets: []int64{moveOffset}, single: r.IntN(2) == 0,
			inputs: []input{{from: "count", partition: s.keeping(r, first)}}, keys: shifted(first.keys, moveOffset),
		})
		last = s.add(r, &node{
			kind: counterNode, name: "again", inputs: []input{{from: move.name, partition: graph.Hash}}, keys: move.keys,
		})
	}
	s.addSink(r, "sink", last)
	if r.IntN(3) == 0 {
		s.addSink(r, "side", first)
	}
	if r.IntN(6) == 0 {
		s.addSink(r, "third", last)
	}
	if r.IntN(4) == 0 {
		s.addBeside(r)
	}
}

// addBeside adds a pipeline that nothing connects to the others: a region of its own.
func (s *scenario) addBeside(r *rand.Rand) {
	from := s.addSource(r, 5)
	count := s.add(r, &node{
		kind: counterNode, name: "beside", inputs: []input{{from: from.name, partition: graph.Hash}}, keys: from.keys,
	})
	s.addSink(r, "besides", count)
}

// add puts a node into the graph and picks what may vary in every kind.
func (s *scenario) add(r *rand.Rand, n *node) *node {
	if r.IntN(4) == 0 && (!s.ordered || n.kind == counterNode || n.kind == delayNode || n.kind == sourceNode) {
		n.own = 1 + r.IntN(7)
	}
	n.noChain = r.IntN(4) == 0
	if n.kind == shiftNode && len(n.offsets) == 1 && r.IntN(3) == 0 {
		// What is kept over a snapshot may go to another subtask after a rescale, and rows of a key lose their order.
		n.hold, n.keep = true, !s.ordered && !s.endless && r.IntN(2) == 0
	}
	s.nodes = append(s.nodes, n)
	return n
}

// addSource adds a source, perhaps with a shift behind it, and returns the end.
func (s *scenario) addSource(r *rand.Rand, i int) *node {
	spec := &sourceSpec{
		firstKey: int64(i) * 10_000, splits: 1 + r.IntN(5), keysPerSplit: 1 + r.Int64N(4), rowsPerKey: s.rowsPerKey,
		pause: time.Duration(1+r.IntN(150)) * time.Millisecond, union: r.IntN(2) == 0, endless: s.endless && (i == 0 || r.IntN(2) == 0),
	}
	n := &node{kind: sourceNode, name: fmt.Sprintf("source%d", i), source: spec}
	for k := range int64(spec.splits) * spec.keysPerSplit {
		n.keys = append(n.keys, spec.firstKey+k)
	}
	s.add(r, n)
	if r.IntN(2) == 0 {
		return n
	}
	return s.addShift(r, fmt.Sprintf("shift%d", i), n, shiftOffset)
}

// addShift adds a shift behind a node.
func (s *scenario) addShift(r *rand.Rand, name string, from *node, offset int64) *node {
	return s.add(r, &node{
		kind: shiftNode, name: name, offsets: []int64{offset}, single: r.IntN(2) == 0,
		inputs: []input{{from: from.name, partition: s.moving(r, from)}}, keys: shifted(from.keys, offset),
	})
}

// addDiamond splits the rows of a node over two paths of different length.
func (s *scenario) addDiamond(r *rand.Rand, from *node) []*node {
	left := s.addShift(r, "left", from, diamondOffset)
	right := s.addShift(r, "right", from, 2*diamondOffset)
	if r.IntN(2) == 0 {
		right = s.addShift(r, "longer", right, 2*diamondOffset)
	}
	return []*node{left, right}
}

// addConnect takes two nodes together in an operator with two inputs.
func (s *scenario) addConnect(r *rand.Rand, a, b *node) *node {
	return s.add(r, &node{
		kind: shiftNode, name: "connect", offsets: []int64{connectOffset, 2 * connectOffset}, single: r.IntN(2) == 0,
		inputs: []input{{from: a.name, partition: s.moving(r, a)}, {from: b.name, partition: s.moving(r, b), index: 1}},
		keys:   append(shifted(a.keys, connectOffset), shifted(b.keys, 2*connectOffset)...),
	})
}

// addBroadcast gives the rows of a node to all subtasks of an operator, which remembers all and passes on its own.
func (s *scenario) addBroadcast(r *rand.Rand, from *node) *node {
	return s.add(r, &node{kind: fanNode, name: "fan", inputs: []input{{from: from.name, partition: graph.Broadcast}}, keys: from.keys})
}

// keeping is the partitioning of an edge that leaves rows where they are, if order has to be kept and that does.
func (s *scenario) keeping(_ *rand.Rand, from *node) graph.Partitioning {
	// Rows of a key stay in order on the way only if they stay in their subtask.
	if from.own != 0 && s.ordered {
		return graph.Hash
	}
	return graph.Forward
}

// moving is any partitioning of an edge that order allows.
func (s *scenario) moving(r *rand.Rand, from *node) graph.Partitioning {
	switch r.IntN(4) {
	case 0:
		return graph.Hash
	case 1:
		if !s.ordered {
			return graph.Rebalance
		}
	}
	return s.keeping(r, from)
}

func (s *scenario) addSink(r *rand.Rand, name string, from *node) {
	p := graph.Forward
	if r.IntN(2) == 0 {
		p = graph.Hash
	}
	s.add(r, &node{kind: sinkNode, name: name, inputs: []input{{from: from.name, partition: p}}, keys: from.keys, union: r.IntN(2) == 0})
}

func shifted(keys []int64, by int64) []int64 {
	out := make([]int64, len(keys))
	for i, k := range keys {
		out[i] = k + by
	}
	return out
}
