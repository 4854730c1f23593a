// SPDX-License-Identifier: Apache-2.0

package generator

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/weir-stream/weir/runtime/contract"
	"github.com/weir-stream/weir/runtime/dataflow/columns"
	"github.com/weir-stream/weir/runtime/operator"
	"github.com/weir-stream/weir/runtime/record"
)

// fleet is the sources of all subtasks.
type fleet struct {
	t       *testing.T
	g       *Generator
	now     time.Time
	sources []*source
	ended   []bool
	// seen is the last sequence of each key.
	seen map[int64]int64
	rows int64
}

func newFleet(t *testing.T, cfg contract.Generator) *fleet {
	t.Helper()
	g, err := New(&cfg)
	if err != nil {
		t.Fatal(err)
	}
	return &fleet{t: t, g: g, now: time.Unix(1000, 0), seen: map[int64]int64{}}
}

func (f *fleet) start(parallelism int, lists [][]operator.List) error {
	f.sources, f.ended = nil, make([]bool, parallelism)
	for i := range parallelism {
		s, ok := f.g.NewSource().(*source)
		if !ok {
			f.t.Fatal("no source")
		}
		c := &operator.Context{Name: "gen", Subtask: i, Parallelism: parallelism, Now: func() time.Time { return f.now }}
		if lists != nil {
			c.Restored = lists[i]
		}
		if err := s.Open(f.t.Context(), c); err != nil {
			return err
		}
		f.sources = append(f.sources, s)
	}
	return nil
}

// poll polls one source and checks that each key goes on where it was.
func (f *fleet) poll(i int) operator.Polled {
	f.t.Helper()
	p, err := f.sources[i].Poll()
	if err != nil {
		f.t.Fatal(err)
	}
	f.ended[i] = p.State == operator.End
	if p.Batch == nil {
		return p
	}
	b, ok := p.Batch.(*columns.Batch)
	if !ok || b.Len() == 0 || b.Len() > record.TargetRows {
		f.t.Fatalf("a batch of %d rows", p.Batch.Len())
	}
	for r := range b.Len() {
		key, seq := b.Columns[0].Ints[r], b.Columns[1].Ints[r]
		if seq != f.seen[key]+1 {
			f.t.Fatalf("key %d goes from %d to %d", key, f.seen[key], seq)
		}
		f.seen[key] = seq
	}
	f.rows += int64(b.Len())
	return p
}

// rescale snapshots all sources and starts others from that.
func (f *fleet) rescale(parallelism int) {
	f.t.Helper()
	var configs, splits [][]byte
	for _, s := range f.sources {
		async, err := s.Snapshot(record.Barrier{})
		if err != nil {
			f.t.Fatal(err)
		}
		lists, err := async(f.t.Context())
		if err != nil {
			f.t.Fatal(err)
		}
		configs = append(configs, lists[0].Entries...)
		splits = append(splits, lists[1].Entries...)
	}
	restored := make([][]operator.List, parallelism)
	for i := range restored {
		from, to := i*len(splits)/parallelism, (i+1)*len(splits)/parallelism
		restored[i] = []operator.List{{Name: configList, Entries: configs}, {Name: splitsList, Entries: splits[from:to]}}
	}
	if err := f.start(parallelism, restored); err != nil {
		f.t.Fatal(err)
	}
}

func (f *fleet) done() bool {
	for _, e := range f.ended {
		if !e {
			return false
		}
	}
	return true
}

func TestSource_SequencesSurviveRescale(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	for _, cfg := range []contract.Generator{
		{Keys: 1, Rows: 5000}, {Keys: 3, Rows: 2}, {Keys: 130, Rows: 100000}, {Keys: 5000, Rows: 123457}, {Rows: 99999}, {Keys: 128, Rows: 128},
	} {
		t.Run(fmt.Sprintf("%d keys %d rows", cfg.Keys, cfg.Rows), func(t *testing.T) {
			f := newFleet(t, cfg)
			if err := f.start(2, nil); err != nil {
				t.Fatal(err)
			}
			for !f.done() {
				f.poll(r.IntN(len(f.sources)))
				if r.IntN(10) == 0 {
					f.rescale(1 + r.IntN(5))
				}
			}
			if f.rows != cfg.Rows {
				t.Fatalf("%d rows, want %d", f.rows, cfg.Rows)
			}
			keys := f.g.keys
			for k := range keys {
				want := cfg.Rows / keys
				if k < cfg.Rows%keys {
					want++
				}
				if f.seen[k] != want {
					t.Fatalf("key %d ended at %d, want %d", k, f.seen[k], want)
				}
			}
		})
	}
}

func TestSource_KeepsRate(t *testing.T) {
	for _, rate := range []int64{1, 30, 1000, 50000} {
		t.Run(fmt.Sprint(rate), func(t *testing.T) {
			f := newFleet(t, contract.Generator{Keys: 100, RowsPerSecond: rate})
			if err := f.start(2, nil); err != nil {
				t.Fatal(err)
			}
			end := f.now.Add(10 * time.Second)
			for f.now.Before(end) {
				wake := end
				for i := range f.sources {
					p := f.poll(i)
					for p.State == operator.More {
						p = f.poll(i)
					}
					if !p.WakeAt.After(f.now) {
						t.Fatalf("wakes at %v, now is %v", p.WakeAt, f.now)
					}
					if p.WakeAt.Before(wake) {
						wake = p.WakeAt
					}
				}
				f.now = wake
			}
			if want := 10 * rate; f.rows < want*98/100-2 || f.rows > want+2 {
				t.Errorf("%d rows in 10 s, want %d", f.rows, want)
			}
		})
	}
}

func TestSource_PauseIsNotMadeUpInFull(t *testing.T) {
	f := newFleet(t, contract.Generator{RowsPerSecond: 1000})
	if err := f.start(1, nil); err != nil {
		t.Fatal(err)
	}
	f.now = f.now.Add(time.Hour)
	for p := f.poll(0); p.State == operator.More; p = f.poll(0) {
	}
	if f.rows < 900 || f.rows > 1100 {
		t.Errorf("%d rows after an hour's pause, want those of a second", f.rows)
	}
}

func TestSource_OtherKeysAreRefused(t *testing.T) {
	f := newFleet(t, contract.Generator{Keys: 10})
	restored := [][]operator.List{{{Name: configList, Entries: [][]byte{[]byte(`{"keys":20}`)}}}}
	err := f.start(1, restored)
	if err == nil || !strings.Contains(err.Error(), `operator "gen": the generator had 20 keys when its state was saved and has 10 now`) {
		t.Errorf("got %v", err)
	}
}

func TestSource_MoreSubtasksThanKeys(t *testing.T) {
	f := newFleet(t, contract.Generator{Keys: 2})
	if err := f.start(3, nil); err != nil {
		t.Fatal(err)
	}
	if p := f.poll(2); p.State != operator.Wait || !p.Idle || p.Batch != nil {
		t.Errorf("a subtask without keys answers %+v", p)
	}
}
