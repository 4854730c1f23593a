// SPDX-License-Identifier: Apache-2.0

package checkpoint

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// registryStep is a call and what it has to give.
type registryStep struct {
	do   func(r *Registry) ([]string, error)
	free []string
	err  string
}

func open(id, base int64) registryStep {
	return registryStep{do: func(r *Registry) ([]string, error) { r.Open(id, base); return nil, nil }}
}

func create(id int64, name string) registryStep {
	return registryStep{do: func(r *Registry) ([]string, error) { return nil, r.Create(id, name) }}
}

func reuse(id int64, name string) registryStep {
	return registryStep{do: func(r *Registry) ([]string, error) { return nil, r.Reuse(id, name) }}
}

func complete(id int64, free ...string) registryStep {
	return registryStep{do: func(r *Registry) ([]string, error) { return r.Complete(id), nil }, free: free}
}

func release(id int64, free ...string) registryStep {
	return registryStep{do: func(r *Registry) ([]string, error) { return r.Release(id), nil }, free: free}
}

func learn(id int64, names []string, free ...string) registryStep {
	return registryStep{do: func(r *Registry) ([]string, error) { return r.Learn(id, names), nil }, free: free}
}

func forget(id int64) registryStep {
	return registryStep{do: func(r *Registry) ([]string, error) { r.Forget(id); return nil, nil }}
}

// stray takes a late file, which is deleted right away if free is set.
func stray(name string, own bool, free ...string) registryStep {
	return registryStep{do: func(r *Registry) ([]string, error) {
		if r.Stray(name, own) {
			return []string{name}, nil
		}
		return nil, nil
	}, free: free}
}

func (s registryStep) fails(text string) registryStep {
	s.err = text
	return s
}

func TestRegistry(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		unknown []int64
		steps   []registryStep
		left    int // files that are known in the end
	}{
		"a file is freed with the last checkpoint that refers to it": {steps: []registryStep{
			open(1, 0), create(1, "s/a"), create(1, "s/b"), complete(1),
			open(2, 1), reuse(2, "s/a"), create(2, "s/c"), complete(2), release(1, "s/b"),
			open(3, 2), create(3, "s/d"), complete(3), release(2, "s/a", "s/c"),
		}, left: 1},
		// Two are retained. Checkpoint 1 creates files, 2 shares them, 3 merges them into one, and 4 frees them.
		"created, shared, merged, freed": {steps: []registryStep{
			open(1, 0), create(1, "s/a1"), create(1, "s/a2"), complete(1),
			open(2, 1), reuse(2, "s/a1"), reuse(2, "s/a2"), create(2, "s/b"), complete(2),
			open(3, 2), create(3, "s/merged"), complete(3), release(1), // 2 is retained and still refers to them
			open(4, 3), reuse(4, "s/merged"), create(4, "s/d"), complete(4), release(2, "s/a1", "s/a2", "s/b"),
		}, left: 2},
		"a base in use keeps its files, though it isn't retained any more": {steps: []registryStep{
			open(1, 0), create(1, "s/a"), create(1, "s/b"), complete(1),
			open(2, 1), open(3, 1), create(2, "s/c"), complete(2), release(1),
			reuse(3, "s/a"), complete(3, "s/b"), release(2, "s/c"),
		}, left: 1},
		"a base in use by one that is given up": {steps: []registryStep{
			open(1, 0), create(1, "s/a"), complete(1), open(2, 1), open(3, 1), complete(2), release(1),
			reuse(3, "s/a"), release(3, "s/a"),
		}},
		"the files of one that is given up are freed, not those that it shares": {steps: []registryStep{
			open(1, 0), create(1, "s/a"), complete(1),
			open(2, 1), reuse(2, "s/a"), create(2, "s/b"), release(2, "s/b"),
		}, left: 1},
		"the base is the one that was named": {steps: []registryStep{
			open(1, 0), create(1, "s/a"), complete(1),
			open(2, 1), create(2, "s/b"), complete(2),
			open(3, 2), reuse(3, "s/a").fails(`"s/a" isn't one of the base's, checkpoint 2`),
			open(4, 0), reuse(4, "s/b").fails("the checkpoint has none"),
		}, left: 2},
		"a file of one that was given up isn't live": {steps: []registryStep{
			open(1, 0), create(1, "s/a"), complete(1),
			open(2, 1), create(2, "s/b"), release(2, "s/b"),
			open(3, 1), reuse(3, "s/b").fails(`"s/b" isn't one of the base's`),
		}, left: 1},
		"a new file can't be an old one": {steps: []registryStep{
			open(1, 0), create(1, "s/a"), complete(1),
			open(2, 0), create(2, "s/a").fails("said to be new"), release(2), release(1, "s/a"),
		}},
		"nothing outside of the directory": {steps: []registryStep{
			open(1, 0), create(1, "elsewhere/a").fails("lies outside"), stray("elsewhere/a", true), release(1),
		}},
		"a late file is deleted unless it is known": {steps: []registryStep{
			open(1, 0), create(1, "s/a"), complete(1), stray("s/a", true), stray("s/b", true, "s/b"), stray("s/c", false, "s/c"),
		}, left: 1},
		"what was there before is kept until all that could refer to it are known": {unknown: []int64{4, 5}, steps: []registryStep{
			stray("s/x", false), stray("s/y", false),
			learn(5, []string{"s/a", "s/x"}), release(5), // 4 may refer to them
			open(6, 0), create(6, "s/n"), release(6, "s/n"), // a new one, it can't
			stray("s/z", true, "s/z"),
			learn(4, []string{"s/a"}, "s/x", "s/y"), release(4, "s/a"),
		}},
		"one that can't be read holds them as long as it is kept": {unknown: []int64{4, 5}, steps: []registryStep{
			learn(5, []string{"s/a"}), release(5), release(4, "s/a"),
		}},
		"one that is left out takes nothing along": {unknown: []int64{4, 5}, steps: []registryStep{
			learn(4, []string{"s/a"}), learn(5, []string{"s/a", "s/b"}), forget(5), release(4, "s/a"),
		}},
		"what is learned twice counts once": {unknown: []int64{4}, steps: []registryStep{
			learn(4, []string{"s/a"}), learn(4, []string{"s/a", "s/b"}), release(4, "s/a"), release(4),
		}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := NewRegistry("s/", tc.unknown)
			for i, s := range tc.steps {
				free, err := s.do(r)
				if len(free)+len(s.free) > 0 && !cmp.Equal(free, s.free) {
					t.Fatalf("step %d frees %v, want %v", i, free, s.free)
				}
				if (err != nil) != (s.err != "") || (err != nil && !strings.Contains(err.Error(), s.err)) {
					t.Fatalf("step %d gives %v, want %q", i, err, s.err)
				}
			}
			if r.Files() != tc.left {
				t.Errorf("%d files are known in the end, want %d", r.Files(), tc.left)
			}
		})
	}
}

// TestRegistry_AgainstAModel compares random histories with a plain model: the files that the head's checkpoints and those in flight need.
func TestRegistry_AgainstAModel(t *testing.T) {
	t.Parallel()
	for seed := range uint64(400) {
		rnd := rand.New(rand.NewPCG(seed, 3))
		m := &registryModel{r: NewRegistry("s/", nil), kept: map[int64][]string{}, flight: map[int64]*registryFlight{}, exists: map[string]bool{}}
		for range 200 {
			if err := m.step(rnd); err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
		}
		for _, id := range slices.Sorted(maps.Keys(m.flight)) {
			m.deleted(m.r.Release(id))
			delete(m.flight, id)
		}
		for _, id := range slices.Sorted(maps.Keys(m.kept)) {
			delete(m.kept, id)
			m.deleted(m.r.Release(id))
		}
		if len(m.exists) > 0 || m.r.Files() > 0 {
			t.Fatalf("seed %d: %v leaked, %d files are known in the end", seed, slices.Sorted(maps.Keys(m.exists)), m.r.Files())
		}
	}
}

type registryFlight struct {
	base  int64
	files []string
}

type registryModel struct {
	r      *Registry
	next   int64
	files  int
	kept   map[int64][]string
	flight map[int64]*registryFlight
	exists map[string]bool
	err    error
}

func (m *registryModel) step(rnd *rand.Rand) error {
	kept := slices.Sorted(maps.Keys(m.kept))
	flying := slices.Sorted(maps.Keys(m.flight))
	switch n := rnd.IntN(10); {
	case n < 3 && len(flying) < 3:
		m.next++
		f := &registryFlight{}
		if len(kept) > 0 && rnd.IntN(4) > 0 {
			f.base = kept[len(kept)-1]
		}
		m.r.Open(m.next, f.base)
		m.flight[m.next] = f
	case n < 7 && len(flying) > 0:
		id := flying[rnd.IntN(len(flying))]
		f := m.flight[id]
		if of := m.kept[f.base]; len(of) > 0 && rnd.IntN(2) == 0 {
			name := of[rnd.IntN(len(of))]
			if err := m.r.Reuse(id, name); err != nil {
				return err
			}
			f.files = append(f.files, name)
			break
		}
		m.files++
		name := fmt.Sprintf("s/%d", m.files)
		m.exists[name] = true
		f.files = append(f.files, name)
		if err := m.r.Create(id, name); err != nil {
			return err
		}
	case n < 8 && len(flying) > 0: // give up
		id := flying[rnd.IntN(len(flying))]
		delete(m.flight, id)
		m.deleted(m.r.Release(id))
	case n < 9 && len(flying) > 0: // complete
		id := flying[rnd.IntN(len(flying))]
		m.kept[id] = m.flight[id].files
		delete(m.flight, id)
		m.deleted(m.r.Complete(id))
	case len(kept) > 1: // subsume
		delete(m.kept, kept[0])
		m.deleted(m.r.Release(kept[0]))
	}
	return m.err
}

// deleted checks files that are deleted.
func (m *registryModel) deleted(names []string) {
	for _, n := range names {
		if !m.exists[n] {
			m.err = fmt.Errorf("%s is deleted, but isn't there", n)
		}
		delete(m.exists, n)
		for id, files := range m.kept {
			if slices.Contains(files, n) {
				m.err = fmt.Errorf("%s is deleted, but checkpoint %d refers to it", n, id)
			}
		}
		for id, f := range m.flight {
			if slices.Contains(f.files, n) {
				m.err = fmt.Errorf("%s is deleted, but checkpoint %d in flight refers to it", n, id)
			}
		}
	}
}
