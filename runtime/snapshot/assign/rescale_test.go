// SPDX-License-Identifier: Apache-2.0

package assign

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-stream/weir/runtime/graph"
	"github.com/weir-stream/weir/runtime/operator"
	"github.com/weir-stream/weir/runtime/protocol"
	"github.com/weir-stream/weir/runtime/snapshot"
	"github.com/weir-stream/weir/runtime/state"
)

// stateFiles keeps state files in memory.
type stateFiles map[string][]byte

func (s stateFiles) WriteFile(_ context.Context, data []byte) (state.File, error) {
	f := state.File{Path: fmt.Sprint(len(s)), Size: int64(len(data))}
	s[f.Path] = slices.Clone(data)
	return f, nil
}

func (s stateFiles) ReadFile(_ context.Context, f state.File, off, n int64) ([]byte, error) {
	return s[f.Path][off : off+n], nil
}

// keyedState is the state of one subtask: a number and a timer of each key, in two kinds of keys.
type keyedState struct {
	m      *state.Memory
	ints   *state.Value[int64, int64]
	texts  *state.Value[string, string]
	timers *state.Timers[int64]
	intOf  *state.Keys[int64]
	textOf *state.Keys[string]
}

func newKeyedState(t *testing.T, i, p, groups int, files []state.File, from stateFiles) *keyedState {
	t.Helper()
	o := state.Options{MaxParallelism: groups, PartSize: 1000}
	o.First, o.Last = state.GroupRange(i, p, groups)
	m, err := state.NewMemory(o)
	k := &keyedState{m: m}
	must := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	must(err)
	if len(files) > 0 {
		must(m.Restore(t.Context(), files, from))
	}
	k.intOf, err = state.KeysOf[int64](nil)
	must(err)
	k.textOf, err = state.KeysOf[string](nil)
	must(err)
	k.ints, err = state.OpenValue[int64, int64](m, "ints", k.intOf, nil)
	must(err)
	k.texts, err = state.OpenValue[string, string](m, "texts", k.textOf, nil)
	must(err)
	k.timers, err = state.OpenTimers(m, "timers", k.intOf)
	must(err)
	return k
}

const rescaledKeys = 100

// ownerOf is the subtask that rows with a hash are sent to.
func ownerOf(r *graph.Router, hash uint64) int { return int(r.AppendOwners(nil, []uint64{hash})[0]) }

// savedKeyedState is a snapshot of all keys at a parallelism.
func savedKeyedState(t *testing.T, p, groups int) (*snapshot.Manifest, stateFiles) {
	t.Helper()
	store := stateFiles{}
	router := graph.NewRouter(p, groups)
	o := snapshot.OperatorState{Name: "op", Parallelism: p}
	for i := range p {
		k := newKeyedState(t, i, p, groups, nil, nil)
		for n := range int64(rescaledKeys) {
			if h := k.intOf.Hash(n); ownerOf(router, h) == i {
				k.ints.Set(n, h, n*n)
				k.timers.Register(n, h, 1000+n, nil)
			}
			text := fmt.Sprint("key ", n)
			if h := k.textOf.Hash(text); ownerOf(router, h) == i {
				k.texts.Set(text, h, strings.ToUpper(text))
			}
		}
		s := k.m.Seal()
		files, err := s.Write(t.Context(), store)
		s.Release()
		if err != nil {
			t.Fatal(err)
		}
		o.Subtasks = append(o.Subtasks, snapshot.SubtaskState{Index: i, Keyed: files})
	}
	return &snapshot.Manifest{JobID: "j", Checkpoint: 1, MaxParallelism: groups, Operators: []snapshot.OperatorState{o}}, store
}

// Every p to every q: after the restore each key, with its values and its timer, is in the one subtask that its rows go to.
func TestRescale_EveryKeyFindsItsState(t *testing.T) {
	t.Parallel()
	for _, groups := range []int{16, 128, 32768} {
		t.Run(fmt.Sprint(groups), func(t *testing.T) {
			t.Parallel()
			for p := 1; p <= 16; p++ {
				m, store := savedKeyedState(t, p, groups)
				for q := 1; q <= 16; q++ {
					checkRescaled(t, m, store, p, q)
				}
			}
		})
	}
}

func checkRescaled(t *testing.T, m *snapshot.Manifest, store stateFiles, p, q int) {
	t.Helper()
	groups := m.MaxParallelism
	tasks, err := Assign(Shape{MaxParallelism: groups, Vertices: []Vertex{{
		Name: "v", Parallelism: q, Inputs: []Input{{Vertex: "src"}}, Operators: []Operator{{Name: "op", Keyed: true}},
	}}}, m, Options{})
	if err != nil {
		t.Fatal(err)
	}
	router := graph.NewRouter(q, groups)
	ints, texts, timers := 0, 0, 0
	for i := range q {
		restore := tasks[protocol.TaskID{Vertex: "v", Subtask: i}].Operators["op"]
		k := newKeyedState(t, i, q, groups, restore.Keyed, store)
		ints += k.ints.Len()
		texts += k.texts.Len()
		for n := range int64(rescaledKeys) {
			if h := k.intOf.Hash(n); ownerOf(router, h) == i {
				if v, ok := k.ints.Get(n, h); !ok || v != n*n {
					t.Fatalf("%d groups, %d to %d: subtask %d has %d, %t for key %d", groups, p, q, i, v, ok, n)
				}
			}
			text := fmt.Sprint("key ", n)
			if h := k.textOf.Hash(text); ownerOf(router, h) == i {
				if v, ok := k.texts.Get(text, h); !ok || v != strings.ToUpper(text) {
					t.Fatalf("%d groups, %d to %d: subtask %d has %q, %t for %q", groups, p, q, i, v, ok, text)
				}
			}
		}
		for last := int64(0); ; timers++ {
			timer, ok := k.timers.Pop(10_000)
			if !ok {
				break
			}
			if timer.At < last || timer.At != 1000+timer.Key || ownerOf(router, timer.Hash) != i {
				t.Fatalf("%d groups, %d to %d: subtask %d has the timer %+v after one at %d", groups, p, q, i, timer, last)
			}
			last = timer.At
		}
	}
	if ints != rescaledKeys || texts != rescaledKeys || timers != rescaledKeys {
		t.Fatalf("%d groups, %d to %d: %d numbers, %d texts and %d timers, want %d of each", groups, p, q, ints, texts, timers, rescaledKeys)
	}
}

// How lists are dealt out: entries are words, subtasks are separated by bars.
func TestRedistribute_Cases(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		mode operator.Mode
		old  string
		q    int
		want string
	}{
		"split, unchanged":                      {operator.Split, "a b c|d|", 3, "a b c|d|"},
		"split, more subtasks":                  {operator.Split, "a b c|d e f", 3, "a b|c d|e f"},
		"split, more subtasks than entries":     {operator.Split, "a|b", 4, "|a||b"},
		"split, fewer subtasks":                 {operator.Split, "a|b c|d e", 2, "a b|c d e"},
		"split, to one":                         {operator.Split, "a|b c|", 1, "a b c"},
		"split, from one":                       {operator.Split, "a b c d", 3, "a|b|c d"},
		"split, uneven before":                  {operator.Split, "a b c d e f||", 2, "a b c|d e f"},
		"split, nothing":                        {operator.Split, "||", 2, "|"},
		"union, unchanged":                      {operator.Union, "a|b c", 2, "a b c|a b c"},
		"union, more subtasks":                  {operator.Union, "a|b", 3, "a b|a b|a b"},
		"union, fewer subtasks":                 {operator.Union, "a|b|c", 1, "a b c"},
		"broadcast, unchanged":                  {operator.Broadcast, "a b|a b", 2, "a b|a b"},
		"broadcast, more subtasks":              {operator.Broadcast, "a1|a2", 5, "a1|a2|a1|a2|a1"},
		"broadcast, fewer subtasks":             {operator.Broadcast, "a1|a2|a3", 2, "a1|a2"},
		"broadcast, equal copies stay as equal": {operator.Broadcast, "a|a|a", 4, "a|a|a|a"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := copies{mode: tc.mode}
			for i, part := range strings.Split(tc.old, "|") {
				l := operator.List{Name: "l", Mode: tc.mode}
				for e := range strings.FieldsSeq(part) {
					l.Entries = append(l.Entries, []byte(e))
				}
				c.at, c.lists = append(c.at, i), append(c.lists, l)
			}
			var got []string
			for _, entries := range c.redistribute(len(c.lists), tc.q) {
				got = append(got, strings.Join(words(entries), " "))
			}
			if diff := cmp.Diff(tc.want, strings.Join(got, "|")); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
		})
	}
}
