// SPDX-License-Identifier: Apache-2.0

package task

import (
	"time"

	"github.com/weir-stream/weir/runtime/graph"
	"github.com/weir-stream/weir/runtime/operator"
	"github.com/weir-stream/weir/runtime/record"
)

// exchange is the output at the end of the chain: it gathers rows into batches for each
// destination and hands full ones to the channels.
type exchange struct {
	edges []*edgeOutput
	// rows handed to channels or gathered for them, counting a broadcast once.
	rows int64
	// urgent lets the task go on without room, up to a snapshot whose barrier overtakes; debt is how many rows were emitted since
	// there was room, which bounds that.
	urgent bool
	debt   int
}

// edgeOutput is one output edge of the task.
type edgeOutput struct {
	partition graph.Partitioning
	splitter  record.Splitter
	writers   []Writer
	hasher    record.Hasher
	router    *graph.Router
	hashes    []uint64
	dests     []uint16
	// next is the destination of Rebalance.
	next int
	// gathered is the number of rows not yet handed over.
	gathered int
}

func newExchange(o *Options) exchange {
	var x exchange
	for i, e := range o.Vertex.Outputs {
		eo := &edgeOutput{partition: e.Partition, writers: o.Writers[i]}
		dests := len(eo.writers)
		if e.Partition == graph.Broadcast {
			dests = 1
		}
		eo.splitter = e.Type.NewSplitter(dests)
		if e.Partition == graph.Hash {
			eo.hasher = e.NewHasher()
			eo.router = graph.NewRouter(e.To.Parallelism, o.Plan.MaxParallelism)
		}
		eo.next = o.Subtask % len(eo.writers)
		x.edges = append(x.edges, eo)
	}
	return x
}

// maxDebt is how many rows a task may emit without room to get to the end of what it is doing.
const maxDebt = 64 * record.TargetRows

// Emit takes the whole batch and answers Paused if a channel has no room then.
func (x *exchange) Emit(b record.Batch) (operator.Status, error) {
	x.rows += int64(b.Len())
	x.debt += b.Len()
	for _, e := range x.edges {
		e.emit(b)
	}
	if !x.hasRoom() {
		return operator.Paused, nil
	}
	return operator.Done, nil
}

func (e *edgeOutput) emit(b record.Batch) {
	n := b.Len()
	e.gathered += n
	switch e.partition {
	case graph.Hash:
		e.hashes = e.hasher.AppendHashes(e.hashes[:0], b)
		e.dests = e.router.AppendOwners(e.dests[:0], e.hashes)
		e.splitter.Scatter(b, e.hashes, e.dests)
		for d := range e.writers {
			e.flushFull(d)
		}
	case graph.Rebalance:
		e.splitter.Append(e.next, b)
		if e.flushFull(e.next) {
			e.next = (e.next + 1) % len(e.writers)
		}
	default:
		e.splitter.Append(0, b)
		e.flushFull(0)
	}
}

func (e *edgeOutput) flushFull(d int) bool {
	if e.splitter.Len(d) < record.TargetRows {
		return false
	}
	e.push(d)
	return true
}

// push hands what is gathered for d to its channel, or to all for a broadcast.
func (e *edgeOutput) push(d int) {
	b := e.splitter.Take(d)
	if b == nil {
		return
	}
	e.gathered -= b.Len()
	if e.partition != graph.Broadcast {
		e.writers[d].Push(record.OfBatch(b))
		return
	}
	b.Retain(len(e.writers) - 1)
	for _, w := range e.writers {
		w.Push(record.OfBatch(b))
	}
}

// flush hands over everything gathered.
func (x *exchange) flush() {
	for _, e := range x.edges {
		if e.gathered == 0 {
			continue
		}
		n := len(e.writers)
		if e.partition == graph.Broadcast {
			n = 1
		}
		for d := range n {
			e.push(d)
		}
		if e.partition == graph.Rebalance {
			e.next = (e.next + 1) % len(e.writers)
		}
	}
}

// gathered says whether rows wait to be handed over.
func (x *exchange) waiting() bool {
	for _, e := range x.edges {
		if e.gathered > 0 {
			return true
		}
	}
	return false
}

// control sends a control element down every channel, after what is gathered.
func (x *exchange) control(el record.Element) {
	x.flush()
	for _, e := range x.edges {
		for _, w := range e.writers {
			w.Push(el)
		}
	}
}

func (x *exchange) hasRoom() bool {
	room := true
	for _, e := range x.edges {
		for _, w := range e.writers {
			// Every full writer has to be asked, so that each of them tells when it has room again.
			if !w.HasRoom() {
				room = false
			}
		}
	}
	if room {
		x.debt = 0
	}
	return room || x.urgent && x.debt < maxDebt
}

// defaultLinger is how long rows wait for a batch to fill.
const defaultLinger = 5 * time.Millisecond
