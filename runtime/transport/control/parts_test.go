// SPDX-License-Identifier: Apache-2.0

package control

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"github.com/weir-stream/weir/runtime/operator"
	"github.com/weir-stream/weir/runtime/protocol"
	"github.com/weir-stream/weir/runtime/snapshot"
	"github.com/weir-stream/weir/runtime/state"
)

// entries are n of the given size, all different.
func entries(n, size int) [][]byte {
	es := make([][]byte, n)
	for i := range es {
		es[i] = fmt.Appendf(make([]byte, 0, size), "%0*d", size, i)
	}
	return es
}

// deployment has so many tasks, each with the state that of gives it.
func deployment(tasks int, of func(subtask int) map[string]protocol.OperatorRestore) *protocol.Deploy {
	d := &protocol.Deploy{Attempt: protocol.Attempt{Epoch: protocol.Epoch{Grant: 1, N: 2}, K: 3}, RestoredFrom: 7, RestoreDir: "chk-7/"}
	for i := range tasks {
		d.Slots = append(d.Slots, protocol.Placement{Worker: "w"})
		d.Tasks = append(d.Tasks, protocol.TaskDeployment{Task: protocol.TaskID{Vertex: "v", Subtask: i}, Operators: of(i)})
	}
	return d
}

// over is what a worker gets of a deployment that is sent over a connection, and how large all messages and the largest are.
func over(t *testing.T, d *protocol.Deploy) (got *protocol.Deploy, all, largest int) {
	t.Helper()
	parts := Parts(protocol.ToWorker{Deploy: d})
	for _, p := range parts {
		b, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		all += len(b)
		largest = max(largest, len(b))
	}
	addr := serve(t, nil, func(s CoordinatorStream) error {
		for _, p := range parts {
			if err := s.Send(p); err != nil {
				return err
			}
		}
		return nil
	})
	s, err := Dial(t.Context(), addr, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var a Assembler
	for {
		m, err := s.Recv()
		if err != nil {
			t.Fatal(err)
		}
		if m.Part == nil {
			if err := a.Complete(m.Deploy); err != nil {
				t.Fatal(err)
			}
			return m.Deploy, all, largest
		}
		if err := a.Add(m.Part); err != nil {
			t.Fatal(err)
		}
	}
}

func TestParts_LargeDeploymentsArrive(t *testing.T) {
	const mib = 1 << 20
	union := entries(4*mib/1024, 1024)
	large := [][]byte{make([]byte, 46*mib)} // about what an acknowledgement can hold
	lists := func(of func(subtask int) []operator.List) func() *protocol.Deploy {
		return func() *protocol.Deploy {
			return deployment(8, func(i int) map[string]protocol.OperatorRestore {
				return map[string]protocol.OperatorRestore{"op": {Lists: of(i)}}
			})
		}
	}
	tests := map[string]struct {
		deploy func() *protocol.Deploy
		// messages may take so much in all, and the largest of them.
		all, largest int
	}{
		"a small one": {lists(func(int) []operator.List {
			return []operator.List{{Name: "u", Mode: operator.Union, Entries: union[:10]}}
		}), mib, mib},
		"union state comes once": {lists(func(int) []operator.List {
			return []operator.List{{Name: "u", Mode: operator.Union, Entries: union}}
		}), 6 * mib, 2 * mib},
		"as do the copies of broadcast state": {lists(func(int) []operator.List {
			return []operator.List{{Name: "b", Mode: operator.Broadcast, Entries: entries(4*mib/1024, 1024)}}
		}), 6 * mib, 2 * mib},
		"each subtask has its own": {lists(func(i int) []operator.List {
			return []operator.List{{Name: "none"}, {Name: "s", Type: "x", Entries: [][]byte{{byte(i)}, make([]byte, 3*mib)}}}
		}), 33 * mib, 5 * mib},
		"an entry can't be split": {lists(func(i int) []operator.List {
			return []operator.List{{Name: "s", Mode: operator.Union, Entries: large}}
		}), MaxMessage, MaxMessage},
		"many files and channels": {func() *protocol.Deploy {
			return deployment(2, func(i int) map[string]protocol.OperatorRestore {
				r := protocol.OperatorRestore{}
				for f := range 5000 {
					r.Keyed = append(r.Keyed, state.File{Path: fmt.Sprintf("%d-%d", i, f), LastGroup: f})
					r.Channels = append(r.Channels, snapshot.ChannelState{From: "a", FromSubtask: f, Path: fmt.Sprintf("c%d", f), Length: 1})
				}
				return map[string]protocol.OperatorRestore{"op": r, "other": {Lists: []operator.List{{Name: "l", Entries: entries(3, 3)}}}}
			})
		}, 8 * mib, 2 * mib},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			want, sent := tc.deploy(), tc.deploy()
			got, all, largest := over(t, sent)
			if !reflect.DeepEqual(want, got) { // there is too much of it for a diff
				t.Error("the deployment arrives changed")
			}
			if all > tc.all || largest > tc.largest {
				t.Errorf("%d bytes in messages of up to %d, want %d and %d at most", all, largest, tc.all, tc.largest)
			}
			if !reflect.DeepEqual(want, sent) {
				t.Error("sending it changed the deployment")
			}
		})
	}
}

// An acknowledgement that is within the bound can be sent.
func TestAckSize_IsNotBelowTheMessage(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, size := range []int{0, 1, 2, 3, 60, 61, 62, 4096} {
		s := snapshot.SubtaskState{Index: 3}
		for l := range r.IntN(4) {
			s.Lists = append(s.Lists, operator.List{Name: fmt.Sprint(l), Mode: operator.Union, Type: "a type", Entries: entries(2000, size)})
		}
		for range r.IntN(1000) {
			s.Keyed = append(s.Keyed, state.File{Path: strings.Repeat("p", 36), Size: 1 << 40, CRC32C: 1 << 31, FirstGroup: 32767, LastGroup: 32767, Shared: true, Reused: true, Index: true})
			s.Channels = append(s.Channels, snapshot.ChannelState{
				From: "from", Input: 1, FromSubtask: 32767, Hashed: true, Type: "type", Path: strings.Repeat("p", 36), Offset: 1 << 40, Length: 1 << 40, CRC32C: 1 << 31, Rows: 1 << 40,
			})
		}
		b, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		if n := AckSize(&s); n+1000 < len(b) {
			t.Errorf("entries of %d bytes: AckSize() = %d, and it takes %d", size, n, len(b))
		}
	}
}

// Whatever comes as parts, the assembler refuses it or makes a deployment of it whose tasks have lists that came.
func FuzzAssembler(f *testing.F) {
	for _, change := range []func(*protocol.DeployPart){
		func(*protocol.DeployPart) {},
		func(p *protocol.DeployPart) { p.List = 5 },
		func(p *protocol.DeployPart) { p.List = -1 },
		func(p *protocol.DeployPart) { p.Attempt.K++ },
		func(p *protocol.DeployPart) {
			for i := range p.Operators {
				p.Operators[i].Lists = []int{9}
			}
		},
		func(p *protocol.DeployPart) {
			for i := range p.Operators {
				p.Operators[i].Lists = nil
			}
		},
	} {
		ms := Parts(protocol.ToWorker{Deploy: deployment(2, func(i int) map[string]protocol.OperatorRestore {
			return map[string]protocol.OperatorRestore{"op": {Lists: []operator.List{{Name: "s", Entries: [][]byte{{byte(i)}, make([]byte, partSize)}}}}}
		})})
		for _, m := range ms {
			if m.Part != nil {
				change(m.Part)
				for i, e := range m.Part.Entries {
					m.Part.Entries[i] = e[:min(len(e), 3)]
				}
			}
		}
		b, err := json.Marshal(ms)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var ms []protocol.ToWorker
		if json.Unmarshal(data, &ms) != nil {
			return
		}
		var a Assembler
		for _, m := range ms {
			switch {
			case m.Part != nil:
				if a.Add(m.Part) != nil {
					return
				}
			case m.Deploy != nil:
				own := len(m.Deploy.Tasks)
				if a.Complete(m.Deploy) != nil {
					return
				}
				if len(m.Deploy.Tasks) != own {
					t.Errorf("%d tasks became %d", own, len(m.Deploy.Tasks))
				}
			}
		}
	})
}
