// SPDX-License-Identifier: Apache-2.0

package stream_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-stream/weir/runtime/stream"
)

// buffers keeps its rows in two lists and emits them all at a row "flush".
type buffers struct {
	split, union *stream.OperatorList[string]
}

func (f *buffers) Open(c *stream.FunctionContext) (err error) {
	if f.split, err = stream.OpenList[string](c, "split"); err != nil {
		return err
	}
	f.union, err = stream.OpenUnionList[string](c, "union")
	return err
}

func (f *buffers) Process(v string, out *stream.Collector[string]) error {
	if v == "flush" {
		out.Emit("split " + strings.Join(f.split.Values, ""))
		out.Emit("union " + strings.Join(f.union.Values, ""))
		return nil
	}
	f.split.Values = append(f.split.Values, v)
	f.union.Values = append(f.union.Values, v)
	return nil
}

func bufferJob(j *stream.Job) {
	stream.Apply(nothing[string](j, "in").Broadcast(), "buffers", func() stream.Function[string, string] { return &buffers{} })
}

// TestOperatorLists_Rescale restores at every parallelism what was saved at every other one.
func TestOperatorLists_Rescale(t *testing.T) {
	t.Parallel()
	for p := 1; p <= 8; p++ {
		for q := 1; q <= 8; q++ {
			r := newRig[string](t, 1, 16, "buffers", bufferJob)
			r.start(p, nil)
			var all string
			for i, k := range r.tasks { // different rows in each subtask
				one := *r
				one.tasks = []*rigTask[string]{k}
				feed(&one, 0, fmt.Sprintf("%c", 'a'+i), fmt.Sprintf("%c", 'A'+i))
				all += fmt.Sprintf("%c%c", 'a'+i, 'A'+i)
			}
			r.start(q, r.snapshot(0))
			feed(r, 0, "flush")
			var split string
			sizes := map[int]bool{}
			for _, v := range r.out {
				if rest, ok := strings.CutPrefix(v, "split "); ok {
					split += rest
					sizes[len(rest)] = true
				} else if v != "union "+all {
					t.Errorf("%d to %d: a subtask has %q, want the union %q", p, q, v, all)
				}
			}
			if split != all {
				t.Errorf("%d to %d: split lists hold %q together, want %q in this order", p, q, split, all)
			}
			if n := 2 * p / q; p != q && (len(sizes) > 2 || !sizes[n] && !sizes[n+1]) {
				t.Errorf("%d to %d: lists have sizes %v, want %d or %d", p, q, sizes, n, n+1)
			}
			r.close()
		}
	}
}

// wrongLists opens a list of another type, or none.
type wrongLists struct{ other bool }

func (f wrongLists) Open(c *stream.FunctionContext) (err error) {
	if f.other {
		_, err = stream.OpenList[int64](c, "split")
	}
	return err
}
func (wrongLists) Process(string, *stream.Collector[string]) error { return nil }

func TestOperatorLists_OtherTypeOrNoneIsRefused(t *testing.T) {
	t.Parallel()
	r := newRig[string](t, 1, 16, "buffers", bufferJob)
	r.start(1, nil)
	feed(r, 0, "a")
	s := r.snapshot(0)
	r.close()
	for other, want := range map[bool]string{true: "it is of string, mode 0 in the snapshot but of int64", false: `holds ["split" "union"]`} {
		o := newRig[string](t, 1, 16, "buffers", func(j *stream.Job) {
			stream.Apply(nothing[string](j, "in"), "buffers", func() stream.Function[string, string] { return wrongLists{other} })
		})
		if err := o.tryStart(1, s); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want an error with %q", err, want)
		}
	}
}

// rule says from which amount on a purchase in a shop is reported.
type rule struct {
	Shop string
	Min  int64
}

// check reports purchases by the rules.
type check struct {
	rules *stream.BroadcastState[string, int64]
	seen  *stream.ValueState[string, int64]
}

func (f *check) Open(c *stream.KeyedContext[string]) (err error) {
	if f.rules, err = stream.OpenBroadcastState[string, int64](c, "rules"); err != nil {
		return err
	}
	f.seen, err = stream.OpenState[string, int64](c, "seen")
	return err
}

func (f *check) Process(c *stream.KeyedContext[string], v sale, out *stream.Collector[string]) error {
	n, _ := f.seen.Get()
	f.seen.Set(n + 1)
	if low, ok := f.rules.Get(v.Shop); ok && v.Amount >= low {
		out.Emit(fmt.Sprint(v, " of ", f.rules.Len(), " rules, row ", n))
	}
	if v.Amount == forbidden {
		f.rules.Set(stream.BroadcastWriter{}, v.Shop, 1)
	}
	return nil
}

const forbidden = -99

func (f *check) ProcessBroadcast(w stream.BroadcastWriter, r rule, _ *stream.Collector[string]) error {
	if r.Min < 0 {
		f.rules.Remove(w, r.Shop)
	} else {
		f.rules.Set(w, r.Shop, r.Min)
	}
	return nil
}

func checkJob(j *stream.Job) {
	sales := stream.KeyBy(nothing[sale](j, "sales"), func(s sale) string { return s.Shop })
	stream.ProcessBroadcast(sales, nothing[rule](j, "rules"), "check", func() stream.BroadcastFunction[string, sale, rule, string] { return &check{} })
}

func TestBroadcastState_EqualsASequentialRun(t *testing.T) {
	t.Parallel()
	for seed := range uint64(20) {
		r := newRig[string](t, seed, []int{16, 128}[seed%2], "check", checkJob)
		rnd := rand.New(rand.NewPCG(seed, 1))
		rules, seen := map[string]int64{}, map[string]int{}
		var events []func()
		var want []string
		for range 150 {
			shop := fmt.Sprint("shop", rnd.IntN(10))
			if rnd.IntN(4) == 0 {
				u := rule{shop, rnd.Int64N(60) - 10}
				if rules[shop] = u.Min; u.Min < 0 {
					delete(rules, shop)
				}
				events = append(events, func() { feed(r, 1, u) })
				continue
			}
			s := sale{shop, rnd.Int64N(100)}
			if low, ok := rules[shop]; ok && s.Amount >= low {
				want = append(want, fmt.Sprint(s, " of ", len(rules), " rules, row ", seen[shop]))
			}
			seen[shop]++
			events = append(events, func() { feed(r, 0, s) })
		}
		got := r.play(events)
		slices.Sort(want)
		slices.Sort(got)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("seed %d: rows (-want +got):\n%s", seed, diff)
		}
	}
}

func TestBroadcastState_IsReadOnlyForKeyedRows(t *testing.T) {
	t.Parallel()
	r := newRig[string](t, 1, 16, "check", checkJob)
	r.start(1, nil)
	defer func() {
		if v := recover(); v == nil || !strings.Contains(fmt.Sprint(v), "subtasks would differ") {
			t.Errorf("got %v, want a panic that says why", v)
		}
	}()
	feed(r, 0, sale{"a", forbidden})
}
