// SPDX-License-Identifier: Apache-2.0

package stream_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-stream/weir/runtime/contract"
	"github.com/weir-stream/weir/runtime/operator"
	"github.com/weir-stream/weir/runtime/record"
	"github.com/weir-stream/weir/runtime/stream"
	"github.com/weir-stream/weir/runtime/task/tasktest"
)

// rows is a source of fixed rows, dealt to the subtasks in turn.
type rows[T any] struct {
	all  []T
	next int
	step int
}

func from[T any](j *stream.Job, name string, all ...T) stream.Stream[T] {
	return stream.From(j, name, func() stream.Source[T] { return &rows[T]{all: all} }, stream.Bounded())
}

func (r *rows[T]) Open(_ context.Context, c *operator.Context) error {
	r.next, r.step = c.Subtask, c.Parallelism
	return nil
}
func (r *rows[T]) Close() error { return nil }
func (r *rows[T]) Poll(out []T) ([]T, operator.Polled, error) {
	for n := 0; r.next < len(r.all); n++ {
		if n == 3 { // small batches, so that there are several
			return out, operator.Polled{State: operator.More}, nil
		}
		out = append(out, r.all[r.next])
		r.next += r.step
	}
	return out, operator.Polled{State: operator.End}, nil
}

// collector gathers what arrives at the end of a stream.
type collector[T any] struct {
	mu  sync.Mutex
	all []T
}

func collect[T any](s stream.Stream[T], name string) *collector[T] {
	c := &collector[T]{}
	stream.ForEach(s, name, func(v T) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.all = append(c.all, v)
	})
	return c
}

func (c *collector[T]) sorted() []string {
	var out []string
	for _, v := range c.all {
		out = append(out, fmt.Sprint(v))
	}
	slices.Sort(out)
	return out
}

// run builds and runs a job at several parallelisms, with and without chains, and compares the rows, in any order.
func run(t *testing.T, want []string, describe func(j *stream.Job) func() []string) {
	t.Helper()
	slices.Sort(want)
	for _, p := range []int{1, 2, 3} {
		j := &stream.Job{}
		result := describe(j)
		g, err := j.Graph()
		if err != nil {
			t.Fatal(err)
		}
		tasktest.Run(t, g, p)
		if diff := cmp.Diff(want, result()); diff != "" {
			t.Errorf("parallelism %d: rows (-want +got):\n%s", p, diff)
		}
	}
}

func TestMapFilterFlatMap(t *testing.T) {
	t.Parallel()
	run(t, []string{"A", "A", "B", "B", "C", "C"}, func(j *stream.Job) func() []string {
		lines := from(j, "lines", "a b", "-", "c")
		kept := stream.Filter(lines, "kept", func(l string) bool { return l != "-" })
		words := stream.FlatMap(kept, "words", func(l string, out *stream.Collector[string]) {
			for w := range strings.FieldsSeq(l) {
				out.Emit(w)
				out.Emit(w)
			}
		})
		return collect(stream.Map(words, "upper", strings.ToUpper), "out").sorted
	})
}

func TestFlatMap_ManyRowsOfOne(t *testing.T) {
	t.Parallel()
	const n = 10*record.TargetRows + 7
	j := &stream.Job{}
	many := stream.FlatMap(from(j, "one", int64(n)), "many", func(n int64, out *stream.Collector[int64]) {
		for i := range n {
			out.Emit(i)
		}
	})
	// A key makes them cross an exchange, with its back-pressure.
	counts := stream.Count(stream.KeyBy(many, func(i int64) int64 { return i }), "counts")
	got := collect(counts, "out")
	g, err := j.Graph()
	if err != nil {
		t.Fatal(err)
	}
	tasktest.Run(t, g, 2)
	if len(got.all) != n {
		t.Errorf("got %d rows, want %d", len(got.all), n)
	}
}

func TestCount_EveryKeyType(t *testing.T) {
	t.Parallel()
	want := []string{"{x 1}", "{x 2}", "{x 3}", "{y 1}"}
	run(t, slices.Clone(want), func(j *stream.Job) func() []string {
		s := from(j, "in", "x", "y", "x", "x")
		return collect(stream.Count(stream.KeyBy(s, func(v string) string { return v }), "count"), "out").sorted
	})
	run(t, []string{"{1 1}", "{1 2}", "{2 1}"}, func(j *stream.Job) func() []string {
		s := from(j, "in", int32(1), 2, 1)
		return collect(stream.Count(stream.KeyBy(s, func(v int32) int32 { return v }), "count"), "out").sorted
	})
	type pair struct{ A, B int32 }
	run(t, []string{"{{1 2} 1}", "{{1 2} 2}", "{{2 1} 1}"}, func(j *stream.Job) func() []string {
		s := from(j, "in", pair{1, 2}, pair{2, 1}, pair{1, 2})
		return collect(stream.Count(stream.KeyBy(s, func(v pair) pair { return v }), "count"), "out").sorted
	})
}

type sale struct {
	Shop   string
	Amount int64
}

func TestReduce(t *testing.T) {
	t.Parallel()
	run(t, []string{"{a 1}", "{a 3}", "{b 5}"}, func(j *stream.Job) func() []string {
		ordered := stream.From(j, "ordered", func() stream.Source[sale] {
			return &rows[sale]{all: []sale{{"a", 1}, {"a", 2}, {"b", 5}}}
		}, stream.Parallelism(1))
		sum := stream.Reduce(stream.KeyBy(ordered, func(v sale) string { return v.Shop }), "sum", func(acc, v sale) sale {
			acc.Amount += v.Amount
			return acc
		})
		return collect(sum, "out").sorted
	})
}

// dedup lets the first row of every key pass.
type dedup struct {
	seen *stream.ValueState[string, bool]
	last *stream.ValueState[string, string]
}

func (d *dedup) Open(c *stream.KeyedContext[string]) (err error) {
	if d.seen, err = stream.OpenState[string, bool](c, "seen"); err != nil {
		return err
	}
	d.last, err = stream.OpenState[string, string](c, "last")
	return err
}

func (d *dedup) Process(c *stream.KeyedContext[string], v string, out *stream.Collector[string]) error {
	if prev, ok := d.last.Get(); ok && prev != v {
		return fmt.Errorf("key %q: state of another key: %q", c.Key(), prev)
	}
	d.last.Set(v)
	if seen, _ := d.seen.Get(); !seen {
		d.seen.Set(true)
		out.Emit(v)
	}
	return nil
}

func TestProcess_WithState(t *testing.T) {
	t.Parallel()
	run(t, []string{"a", "b"}, func(j *stream.Job) func() []string {
		k := stream.KeyBy(from(j, "in", "a", "b", "a", "a", "b"), func(v string) string { return v })
		return collect(stream.Process(k, "dedup", func() stream.ProcessFunction[string, string, string] { return &dedup{} }), "out").sorted
	})
}

func TestUnionConnectBroadcast(t *testing.T) {
	t.Parallel()
	run(t, []string{"1", "2", "3"}, func(j *stream.Job) func() []string {
		u := stream.Union(from(j, "a", int64(1), 2), from(j, "b", int64(3)))
		return collect(stream.Map(u, "same", func(v int64) int64 { return v }), "out").sorted
	})
	run(t, []string{"n1", "n2", "s:x"}, func(j *stream.Job) func() []string {
		c := stream.Connect(from(j, "a", int64(1), 2), from(j, "b", "x"), "both",
			func(v int64, out *stream.Collector[string]) { out.Emit(fmt.Sprint("n", v)) },
			func(v string, out *stream.Collector[string]) { out.Emit("s:" + v) })
		return collect(c, "out").sorted
	})
	for _, p := range []int{1, 3} {
		j := &stream.Job{}
		got := collect(stream.Map(from(j, "a", "x", "y").Broadcast(), "copy", func(v string) string { return v }, stream.Parallelism(p)), "out")
		g, err := j.Graph()
		if err != nil {
			t.Fatal(err)
		}
		tasktest.Run(t, g, 2)
		if len(got.all) != 2*p {
			t.Errorf("broadcast to %d: got %d rows, want %d", p, len(got.all), 2*p)
		}
	}
}

func TestJob_CollectsMistakes(t *testing.T) {
	t.Parallel()
	_, err := stream.Build(func(j *stream.Job) {
		type bad struct{ M map[string]int }
		s := from(j, "in", bad{})
		stream.ForEach(s, "out", func(bad) {})
	})(contract.JobConfig{})
	if err == nil || !strings.Contains(err.Error(), `operator "in"`) || !strings.Contains(err.Error(), "field M") {
		t.Errorf("got %v, want an error that names operator and field", err)
	}
}
