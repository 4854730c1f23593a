// SPDX-License-Identifier: Apache-2.0

package assign

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/weir-stream/weir/runtime/operator"
	"github.com/weir-stream/weir/runtime/protocol"
	"github.com/weir-stream/weir/runtime/snapshot"
	"github.com/weir-stream/weir/runtime/state"
)

// A randomManifest holds one keyed operator with all three kinds of list, at parallelism p. The key groups of a
// subtask are cut into files at random; a cut may go through a group, as parts of a snapshot do.
func randomManifest(r *rand.Rand, p, groups int) *snapshot.Manifest {
	o := snapshot.OperatorState{Name: "op", Parallelism: p}
	for i := range p {
		s := snapshot.SubtaskState{Index: i}
		first, last := state.GroupRange(i, p, groups)
		for from := first; from <= last; {
			to := from + r.IntN(last-from+1)
			s.Keyed = append(s.Keyed, state.File{Path: fmt.Sprintf("%d-%d", i, len(s.Keyed)), FirstGroup: from, LastGroup: to})
			from = to + 1
			if to > first && r.IntN(3) == 0 {
				from = to
			}
			if from == to && to == last {
				break
			}
		}
		for _, mode := range []operator.Mode{operator.Split, operator.Union, operator.Broadcast} {
			l := operator.List{Name: fmt.Sprint("list", mode), Mode: mode}
			for k := range r.IntN(5) {
				l.Entries = append(l.Entries, fmt.Appendf(nil, "%d/%d", i, k))
			}
			s.Lists = append(s.Lists, l)
		}
		o.Subtasks = append(o.Subtasks, s)
	}
	return &snapshot.Manifest{JobID: "j", Checkpoint: 1, MaxParallelism: groups, Operators: []snapshot.OperatorState{o}}
}

func TestAssign_EveryGroupAndEntryOnce(t *testing.T) {
	for _, groups := range []int{16, 128, 32768} {
		for p := 1; p <= 16; p++ {
			for q := 1; q <= 16; q++ {
				r := rand.New(rand.NewPCG(uint64(groups), uint64(p*100+q)))
				m := randomManifest(r, p, groups)
				if err := m.Validate(); err != nil {
					t.Fatal(err)
				}
				shape := Shape{MaxParallelism: groups, Vertices: []Vertex{{
					Name: "v", Parallelism: q, Inputs: []Input{{Vertex: "src"}},
					Operators: []Operator{{Name: "op", Keyed: true}},
				}}}
				got, err := Assign(shape, m, Options{})
				if err != nil {
					t.Fatal(err)
				}
				if err := checkAssignment(m, got, q, groups); err != nil {
					t.Fatalf("max %d, %d to %d subtasks: %v", groups, p, q, err)
				}
			}
		}
	}
}

func checkAssignment(m *snapshot.Manifest, got map[protocol.TaskID]protocol.TaskDeployment, q, groups int) error {
	if len(got) != q {
		return fmt.Errorf("%d tasks", len(got))
	}
	restores := make([]protocol.OperatorRestore, q)
	for i := range q {
		restores[i] = got[protocol.TaskID{Vertex: "v", Subtask: i}].Operators["op"]
	}
	if err := checkGroups(m, restores, groups); err != nil {
		return err
	}
	return checkLists(m.Operators[0].Subtasks, restores)
}

// checkGroups reads as a restore does: each subtask takes the groups of its range from the files it got. Each (file, group) must be read once.
func checkGroups(m *snapshot.Manifest, restores []protocol.OperatorRestore, groups int) error {
	type piece struct {
		path  string
		group int
	}
	read := map[piece]int{}
	for i, r := range restores {
		first, last := state.GroupRange(i, len(restores), groups)
		for _, f := range r.Keyed {
			if f.FirstGroup > last || f.LastGroup < first {
				return fmt.Errorf("subtask %d got file %s that holds nothing of its groups", i, f.Path)
			}
			for g := max(first, f.FirstGroup); g <= min(last, f.LastGroup); g++ {
				read[piece{f.Path, g}]++
			}
		}
	}
	want := 0
	for _, f := range m.Files() {
		for g := f.FirstGroup; g <= f.LastGroup; g++ {
			want++
			if n := read[piece{f.Path, g}]; n != 1 {
				return fmt.Errorf("group %d of file %s is read %d times", g, f.Path, n)
			}
		}
	}
	if len(read) != want {
		return fmt.Errorf("%d pieces are read, want %d", len(read), want)
	}
	return nil
}

func checkLists(old []snapshot.SubtaskState, restores []protocol.OperatorRestore) error {
	for k := range old[0].Lists {
		var all, split []string
		for i := range old {
			all = append(all, words(old[i].Lists[k].Entries)...)
		}
		least, most := len(all), 0
		for i, r := range restores {
			if len(r.Lists) != 3 {
				return fmt.Errorf("subtask %d got %d lists", i, len(r.Lists))
			}
			got := words(r.Lists[k].Entries)
			switch r.Lists[k].Mode {
			case operator.Union:
				if !slices.Equal(got, all) {
					return fmt.Errorf("union list of subtask %d is %v, want %v", i, got, all)
				}
			case operator.Broadcast:
				if want := words(old[i%len(old)].Lists[k].Entries); !slices.Equal(got, want) {
					return fmt.Errorf("broadcast list of subtask %d is %v, want %v", i, got, want)
				}
			default:
				split = append(split, got...)
				least, most = min(least, len(got)), max(most, len(got))
				if len(old) == len(restores) && !slices.Equal(got, words(old[i].Lists[k].Entries)) {
					return fmt.Errorf("split list of subtask %d changed at the same parallelism", i)
				}
			}
		}
		if old[0].Lists[k].Mode != operator.Split {
			continue
		}
		if !slices.Equal(split, all) {
			return fmt.Errorf("split lists together are %v, want %v", split, all)
		}
		if len(old) != len(restores) && most-least > 1 {
			return fmt.Errorf("split lists have %d to %d entries, want an even split", least, most)
		}
	}
	return nil
}

func words(entries [][]byte) []string {
	var out []string
	for _, e := range entries {
		out = append(out, string(e))
	}
	return out
}
