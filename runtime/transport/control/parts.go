// SPDX-License-Identifier: Apache-2.0

package control

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"hash/maphash"
	"maps"
	"slices"

	"github.com/weir-stream/weir/runtime/operator"
	"github.com/weir-stream/weir/runtime/protocol"
	"github.com/weir-stream/weir/runtime/snapshot"
)

const (
	// MaxAck bounds what [AckSize] gives for an acknowledgement that is to be sent: it leaves room in a message for what isn't counted.
	MaxAck = MaxMessage - 1<<20

	// partSize is about how large a message with a part of a deployment is: so small that a busy worker takes one well within the heartbeat timeout. A
	// single entry may be larger, up to what an acknowledgement can hold.
	partSize = 1 << 20
	// fileSize is about what a file or a channel takes in a message, besides the path.
	fileSize = 256
)

// AckSize is about what the state of an operator takes in an acknowledgement.
func AckSize(s *snapshot.SubtaskState) int {
	n := 0
	for _, l := range s.Lists {
		n += fileSize + entriesSize(l.Entries)
	}
	for _, f := range s.Keyed {
		n += fileSize + len(f.Path)
	}
	for _, c := range s.Channels {
		n += channelSize(&c)
	}
	return n
}

func channelSize(c *snapshot.ChannelState) int {
	return fileSize + len(c.Path) + len(c.From) + len(c.Type)
}

func entriesSize(entries [][]byte) int {
	n := 0
	for _, e := range entries {
		n += entrySize(e)
	}
	return n
}

// entrySize is what an entry takes in a message.
func entrySize(e []byte) int { return base64.StdEncoding.EncodedLen(len(e)) + len(`"",`) }

// Parts returns what is to be sent for m: of a deployment with more state than is good for one message the state first, in parts, which an
// [Assembler] puts together again. Nothing is copied but what describes the entries.
func Parts(m protocol.ToWorker) []protocol.ToWorker {
	if m.Deploy == nil || deploySize(m.Deploy) <= partSize {
		return []protocol.ToWorker{m}
	}
	s := splitter{attempt: m.Deploy.Attempt, seed: maphash.MakeSeed(), numbers: map[uint64][]int{}}
	d := *m.Deploy
	d.Tasks = slices.Clone(d.Tasks)
	for i := range d.Tasks {
		t := &d.Tasks[i]
		for _, name := range slices.Sorted(maps.Keys(t.Operators)) {
			r := t.Operators[name]
			s.operator(t.Task, name, &r)
		}
		t.Operators = nil
	}
	s.flush()
	return append(s.out, protocol.ToWorker{Deploy: &d})
}

func deploySize(d *protocol.Deploy) int {
	n := 0
	for _, t := range d.Tasks {
		for _, r := range t.Operators {
			n += AckSize(&snapshot.SubtaskState{Lists: r.Lists, Keyed: r.Keyed, Channels: r.Channels})
		}
	}
	return n
}

// splitter makes the parts of one deployment.
type splitter struct {
	attempt protocol.Attempt
	out     []protocol.ToWorker
	// operators are those of the next part, size what they take.
	operators []protocol.OperatorPart
	size      int
	// lists are those that were sent, numbers where they are, from 1, by a hash of their entries.
	lists   [][][]byte
	numbers map[uint64][]int
	seed    maphash.Seed
}

// operator adds the state of one operator of a task.
func (s *splitter) operator(task protocol.TaskID, name string, r *protocol.OperatorRestore) {
	piece := func(r protocol.OperatorRestore, numbers []int, size int) {
		s.operators = append(s.operators, protocol.OperatorPart{Task: task, Operator: name, Restore: r, Lists: numbers})
		if s.size += fileSize + size; s.size > partSize {
			s.flush()
		}
	}
	lists, numbers := make([]operator.List, len(r.Lists)), make([]int, len(r.Lists))
	for i, l := range r.Lists {
		numbers[i] = s.list(l.Entries)
		l.Entries = nil
		lists[i] = l
	}
	piece(protocol.OperatorRestore{Lists: lists}, numbers, fileSize*len(lists))
	const atOnce = 1000
	for files := range slices.Chunk(r.Keyed, atOnce) {
		size := 0
		for _, f := range files {
			size += fileSize + len(f.Path)
		}
		piece(protocol.OperatorRestore{Keyed: files}, nil, size)
	}
	for channels := range slices.Chunk(r.Channels, atOnce) {
		size := 0
		for _, c := range channels {
			size += channelSize(&c)
		}
		piece(protocol.OperatorRestore{Channels: channels}, nil, size)
	}
}

// list sends entries, unless the same were sent before, and returns the number of the list.
func (s *splitter) list(entries [][]byte) int {
	if len(entries) == 0 {
		return 0
	}
	var h maphash.Hash
	h.SetSeed(s.seed)
	for _, e := range entries {
		maphash.WriteComparable(&h, len(e))
		_, _ = h.Write(e)
	}
	for _, n := range s.numbers[h.Sum64()] {
		if slices.EqualFunc(s.lists[n-1], entries, bytes.Equal) {
			return n
		}
	}
	s.lists = append(s.lists, entries)
	n := len(s.lists)
	s.numbers[h.Sum64()] = append(s.numbers[h.Sum64()], n)
	for first, last := 0, 0; first < len(entries); first = last {
		for size := 0; last < len(entries) && (last == first || size+entrySize(entries[last]) <= partSize); last++ {
			size += entrySize(entries[last])
		}
		s.out = append(s.out, protocol.ToWorker{Part: &protocol.DeployPart{Attempt: s.attempt, List: n, Entries: entries[first:last]}})
	}
	return n
}

// flush makes a part of what is there of operators.
func (s *splitter) flush() {
	if len(s.operators) > 0 {
		s.out = append(s.out, protocol.ToWorker{Part: &protocol.DeployPart{Attempt: s.attempt, Operators: s.operators}})
	}
	s.operators, s.size = nil, 0
}

// Assembler puts the deployments of one connection together. Its zero value is ready. An error means that the other end is broken.
type Assembler struct {
	attempt protocol.Attempt
	lists   [][][]byte
	tasks   map[protocol.TaskID]map[string]protocol.OperatorRestore
}

// Add takes a part. The parts of a deployment that never comes are dropped with the next one.
func (a *Assembler) Add(p *protocol.DeployPart) error {
	if a.tasks == nil || p.Attempt != a.attempt {
		*a = Assembler{attempt: p.Attempt, tasks: map[protocol.TaskID]map[string]protocol.OperatorRestore{}}
	}
	switch n := len(a.lists); {
	case p.List == 0 && len(p.Entries) == 0:
	case p.List == n+1:
		a.lists = append(a.lists, slices.Clip(p.Entries))
	case p.List == n && n > 0:
		a.lists[n-1] = append(a.lists[n-1], p.Entries...)
	default:
		return fmt.Errorf("a part of the deployment %s is of list %d, after %d lists", p.Attempt, p.List, n)
	}
	for i := range p.Operators {
		if err := a.operator(&p.Operators[i]); err != nil {
			return fmt.Errorf("a part of the deployment %s: %w", p.Attempt, err)
		}
	}
	return nil
}

func (a *Assembler) operator(p *protocol.OperatorPart) error {
	if len(p.Lists) != len(p.Restore.Lists) {
		return fmt.Errorf("it names %d lists and numbers %d", len(p.Restore.Lists), len(p.Lists))
	}
	if a.tasks[p.Task] == nil {
		a.tasks[p.Task] = map[string]protocol.OperatorRestore{}
	}
	r := a.tasks[p.Task][p.Operator]
	for i, l := range p.Restore.Lists {
		n := p.Lists[i]
		if n < 0 || n > len(a.lists) {
			return fmt.Errorf("it refers to list %d of %d", n, len(a.lists))
		}
		if n > 0 {
			l.Entries = a.lists[n-1]
		}
		r.Lists = append(r.Lists, l)
	}
	r.Keyed = append(r.Keyed, p.Restore.Keyed...)
	r.Channels = append(r.Channels, p.Restore.Channels...)
	a.tasks[p.Task][p.Operator] = r
	return nil
}

// Complete gives the tasks of a deployment the state that came before in parts.
func (a *Assembler) Complete(d *protocol.Deploy) error {
	tasks := a.tasks
	mine := tasks != nil && d.Attempt == a.attempt
	*a = Assembler{}
	if !mine {
		return nil
	}
	for i := range d.Tasks {
		t := &d.Tasks[i]
		if operators := tasks[t.Task]; operators != nil {
			t.Operators = operators
			delete(tasks, t.Task)
		}
	}
	if len(tasks) > 0 {
		return errors.New("the deployment " + d.Attempt.String() + " lacks tasks whose state came before it")
	}
	return nil
}
