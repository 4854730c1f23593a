// SPDX-License-Identifier: Apache-2.0

package generator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/weir-stream/weir/runtime/contract"
	"github.com/weir-stream/weir/runtime/dataflow/columns"
	"github.com/weir-stream/weir/runtime/operator"
	"github.com/weir-stream/weir/runtime/record"
)

const (
	defaultKeys = 1000
	maxSplits   = 128
	// burst is for how long unused rate is saved up.
	burst = time.Second
	// tick is how much time's worth of rows a poll waits for at a low rate.
	tick = 20 * time.Millisecond
)

// Names of the lists of state.
const (
	splitsList = "splits"
	configList = "config"
)

var schema = columns.NewSchema(
	columns.Field{Name: "key", Kind: columns.Int},
	columns.Field{Name: "seq", Kind: columns.Int},
)

// Schema is that of the rows: key and seq, both Int.
func Schema() *columns.Schema { return schema }

// Generator makes the sources of the subtasks. Safe for use by several goroutines.
type Generator struct {
	keys, rows, rate int64
	splits           int64
}

// New returns the generator of that configuration.
func New(cfg *contract.Generator) (*Generator, error) {
	g := &Generator{keys: cfg.Keys, rows: cfg.Rows, rate: cfg.RowsPerSecond}
	if g.keys == 0 {
		g.keys = defaultKeys
	}
	var errs []error
	for name, v := range map[string]int64{"keys": g.keys, "rows": g.rows, "rowsPerSecond": g.rate} {
		if v < 0 {
			errs = append(errs, fmt.Errorf("%s is %d, but must not be negative", name, v))
		}
	}
	g.splits = min(g.keys, maxSplits)
	return g, errors.Join(errs...)
}

// NewSource returns the source of one subtask.
func (g *Generator) NewSource() operator.Source { return &source{Generator: g} }

// width is the number of keys of a split.
func (g *Generator) width(s int64) int64 { return (g.keys - s + g.splits - 1) / g.splits }

// total is the number of rows of a split, or -1 for unbounded.
func (g *Generator) total(s int64) int64 {
	if g.rows == 0 {
		return -1
	}
	n := g.rows / g.keys * g.width(s)
	if rest := g.rows % g.keys; rest > s {
		n += (rest - s + g.splits - 1) / g.splits
	}
	return n
}

// split is a share of the keys and how far it has come. It is the state of the source.
type split struct {
	// Split is its number, Position the number of rows it has yielded.
	Split    int64 `json:"split"`
	Position int64 `json:"position"`
}

// config is what must be the same for positions to mean the same.
type config struct {
	Keys int64 `json:"keys"`
}

type source struct {
	*Generator
	now    func() time.Time
	splits []split
	// next is the split that goes on.
	next int
	// rate of this subtask in rows per second; tokens are the rows it may yield as of refilled.
	rate     float64
	tokens   float64
	refilled time.Time
	view     *columns.Batch
}

// Open implements [operator.Source].
func (s *source) Open(_ context.Context, c *operator.Context) error {
	s.now = c.Now
	s.view = schema.NewView()
	configs := c.List(configList)
	if len(configs) == 0 {
		for i := int64(c.Subtask); i < s.Generator.splits; i += int64(c.Parallelism) {
			s.splits = append(s.splits, split{Split: i})
		}
	} else if err := s.restore(configs[0], c.List(splitsList)); err != nil {
		return fmt.Errorf("operator %q: %w", c.Name, err)
	}
	keys := int64(0)
	for _, p := range s.splits {
		keys += s.width(p.Split)
	}
	s.rate = float64(s.Generator.rate) * float64(keys) / float64(s.keys)
	s.refilled = s.now()
	return nil
}

// CheckState says whether restored operator state is that of a generator with these keys.
func (g *Generator) CheckState(lists []operator.List) error {
	if err := operator.OnlyLists(configList, splitsList)(lists); err != nil {
		return err
	}
	c := &operator.Context{Restored: lists}
	if configs := c.List(configList); len(configs) > 0 {
		return (&source{Generator: g}).restore(configs[0], nil)
	}
	return nil
}

func (s *source) restore(encoded []byte, entries [][]byte) error {
	var cfg config
	if err := json.Unmarshal(encoded, &cfg); err != nil {
		return fmt.Errorf("reading the state of the generator: %w", err)
	}
	if cfg.Keys != s.keys {
		return &operator.StateError{Err: fmt.Errorf("the generator had %d keys when its state was saved and has %d now: set keys back to %d, "+
			"or give the operator another name to start anew", cfg.Keys, s.keys, cfg.Keys)}
	}
	for _, e := range entries {
		var p split
		if err := json.Unmarshal(e, &p); err != nil {
			return fmt.Errorf("reading the state of the generator: %w", err)
		}
		if p.Split < 0 || p.Split >= s.Generator.splits || p.Position < 0 {
			return fmt.Errorf("reading the state of the generator: there is no split %d with position %d", p.Split, p.Position)
		}
		s.splits = append(s.splits, p)
	}
	return nil
}

// Poll implements [operator.Source].
func (s *source) Poll() (operator.Polled, error) {
	if len(s.splits) == 0 && s.rows == 0 {
		return operator.Polled{State: operator.Wait, Idle: true}, nil
	}
	if s.done() {
		return operator.Polled{State: operator.End}, nil
	}
	room := record.TargetRows
	if s.Generator.rate > 0 {
		var wait time.Duration
		if room, wait = s.allowance(); room == 0 {
			return operator.Polled{State: operator.Wait, WakeAt: s.refilled.Add(wait)}, nil
		}
	}
	n := s.fill(room)
	s.tokens -= float64(n)
	state := operator.More
	if s.done() {
		state = operator.End
	}
	return operator.Polled{Batch: s.view, State: state}, nil
}

// allowance returns how many rows the rate allows now, and if none, how long to wait.
func (s *source) allowance() (int, time.Duration) {
	now := s.now()
	if elapsed := now.Sub(s.refilled); elapsed > 0 {
		s.tokens = min(s.tokens+elapsed.Seconds()*s.rate, max(1, burst.Seconds()*s.rate))
		s.refilled = now
	}
	want := min(max(1, tick.Seconds()*s.rate), record.TargetRows)
	if s.tokens >= want {
		return int(min(s.tokens, record.TargetRows)), 0
	}
	return 0, max(time.Duration((want-s.tokens)/s.rate*float64(time.Second)), time.Millisecond)
}

// left is how many rows a split still has, at most limit.
func (s *source) left(p *split, limit int64) int64 {
	total := s.total(p.Split)
	if total < 0 {
		return limit
	}
	return min(total-p.Position, limit)
}

func (s *source) done() bool {
	for i := range s.splits {
		if s.left(&s.splits[i], 1) > 0 {
			return false
		}
	}
	return s.rows > 0
}

// fill makes the view of at most room rows: a round of keys of one split after the other.
func (s *source) fill(room int) int {
	keys, seqs := &s.view.Columns[0], &s.view.Columns[1]
	keys.Reset()
	seqs.Reset()
	for idle := 0; len(keys.Ints) < room && idle < len(s.splits); {
		p := &s.splits[s.next]
		width := s.width(p.Split)
		at := p.Position % width
		n := s.left(p, min(width-at, int64(room-len(keys.Ints))))
		if n <= 0 {
			idle++
		} else {
			idle = 0
			s.appendRows(p, at, n, p.Position/width+1)
		}
		if n <= 0 || p.Position%width == 0 {
			s.next = (s.next + 1) % len(s.splits)
		}
	}
	s.view.SetLen(len(keys.Ints))
	return len(keys.Ints)
}

func (s *source) appendRows(p *split, at, n, seq int64) {
	keys, seqs := &s.view.Columns[0], &s.view.Columns[1]
	key := p.Split + at*s.Generator.splits
	for range n {
		keys.Ints = append(keys.Ints, key)
		seqs.Ints = append(seqs.Ints, seq)
		key += s.Generator.splits
	}
	p.Position += n
}

// Snapshot implements [operator.Stateful].
func (s *source) Snapshot(record.Barrier) (operator.AsyncSnapshot, error) {
	now := append([]split(nil), s.splits...)
	cfg := config{Keys: s.keys}
	return func(context.Context) ([]operator.List, error) {
		encoded, err := json.Marshal(cfg)
		if err != nil {
			return nil, fmt.Errorf("saving the state of the generator: %w", err)
		}
		entries := make([][]byte, len(now))
		for i, p := range now {
			if entries[i], err = json.Marshal(p); err != nil {
				return nil, fmt.Errorf("saving the state of the generator: %w", err)
			}
		}
		return []operator.List{
			{Name: configList, Mode: operator.Union, Entries: [][]byte{encoded}},
			{Name: splitsList, Mode: operator.Split, Entries: entries},
		}, nil
	}, nil
}

// Close implements [operator.Source].
func (s *source) Close() error { return nil }
