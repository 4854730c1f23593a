// SPDX-License-Identifier: Apache-2.0

package assign

import (
	"fmt"
	"strings"

	"github.com/weir-stream/weir/runtime/protocol"
	"github.com/weir-stream/weir/runtime/snapshot"
)

// FateKind is what becomes of the state of an operator.
type FateKind int

// The kinds.
const (
	// Maps means that the operator takes the state.
	Maps FateKind = iota
	// StartsEmpty means that there is none for it.
	StartsEmpty
	// Dropped means that no operator takes it.
	Dropped
	// Incompatible means that the operator which it belongs to can't take it.
	Incompatible
)

// Fate is what becomes of the state of one operator.
type Fate struct {
	// Name of the operator in the graph; for dropped state that in the snapshot. From is that in the snapshot, when it is another one.
	Name, From string
	Kind       FateKind
	// Bytes of files and lists in the snapshot.
	Bytes int64
	// Why says what is wrong, for Incompatible.
	Why string
}

// Fates says of every operator of the shape, in order, and of the state that none of them has a place for, what becomes of it. Whether the
// whole is accepted is for [Assign] to say. A nil m is an empty start.
func Fates(shape Shape, m *snapshot.Manifest, o Options) []Fate {
	a := &assigner{shape: shape, m: m, o: o, old: map[string]*snapshot.OperatorState{}}
	byName := map[string]*snapshot.OperatorState{}
	if m != nil {
		a.match()
		for i := range m.Operators {
			byName[m.Operators[i].Name] = &m.Operators[i]
		}
	}
	taken := map[*snapshot.OperatorState]bool{}
	var out []Fate
	for _, v := range shape.Vertices {
		for _, op := range v.Operators {
			out = append(out, a.fate(&v, op, byName))
			taken[a.old[op.Name]] = true
		}
	}
	if m == nil {
		return out
	}
	for i := range m.Operators {
		if old := &m.Operators[i]; !taken[old] && !old.Empty() {
			out = append(out, Fate{Name: old.Name, Kind: Dropped, Bytes: sizeOf(old)})
		}
	}
	return out
}

// fate is that of one operator of the shape.
func (a *assigner) fate(v *Vertex, op Operator, byName map[string]*snapshot.OperatorState) Fate {
	f := Fate{Name: op.Name, Kind: StartsEmpty}
	old := a.old[op.Name]
	if old == nil {
		for _, name := range op.PreviousNames {
			if byName[name] != nil { // somebody else has it: two operators claim it
				f.Kind, f.From, f.Why = Incompatible, name, fmt.Sprintf("another operator claims the state of %q, too", name)
				return f
			}
		}
		return f
	}
	f.Kind, f.Bytes = Maps, sizeOf(old)
	if old.Name != op.Name {
		f.From = old.Name
	}
	if a.m.MaxParallelism != a.shape.MaxParallelism || v.Parallelism < 1 || v.Parallelism > a.shape.MaxParallelism {
		return f // a problem of the whole
	}
	alone := &assigner{shape: a.shape, m: a.m, o: a.o, old: a.old}
	alone.addState(op, old, make([]protocol.TaskDeployment, v.Parallelism))
	if len(alone.problems) > 0 {
		f.Kind, f.Why = Incompatible, strings.Join(alone.problems, "; ")
	}
	return f
}

// sizeOf adds up files and lists of an operator. A shared file counts whole for everyone that refers to it.
func sizeOf(o *snapshot.OperatorState) int64 {
	var n int64
	for i := range o.Subtasks {
		s := &o.Subtasks[i]
		for _, f := range s.Keyed {
			n += f.Size
		}
		for _, c := range s.Channels {
			n += c.Length
		}
		for _, l := range s.Lists {
			for _, e := range l.Entries {
				n += int64(len(e))
			}
		}
	}
	return n
}
