// SPDX-License-Identifier: Apache-2.0

package stream_test

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-stream/weir/runtime/record"
	"github.com/weir-stream/weir/runtime/stream"
)

// nothing is a source for jobs whose operators are driven by hand.
func nothing[T any](j *stream.Job, name string) stream.Stream[T] { return from[T](j, name) }

// alarm asks for a timer.
type alarm struct {
	Key   int64
	Clock bool
	At    int64
	Clear bool
}

// rung is a timer that fired.
type rung struct {
	Key   int64
	Clock bool
	At    int64
	N     int64
}

// alarms sets timers and tells when they fire.
type alarms struct {
	n *stream.ValueState[int64, int64]
}

func (a *alarms) Open(c *stream.KeyedContext[int64]) (err error) {
	a.n, err = stream.OpenState[int64, int64](c, "n")
	return err
}

func kindOf(clock bool) stream.TimeKind {
	if clock {
		return stream.ProcessingTime
	}
	return stream.EventTime
}

func (a *alarms) Process(c *stream.KeyedContext[int64], v alarm, _ *stream.Collector[rung]) error {
	if v.Clear {
		c.ClearTimer(kindOf(v.Clock), v.At)
		return nil
	}
	c.SetTimer(kindOf(v.Clock), v.At)
	c.SetTimer(kindOf(v.Clock), v.At) // twice is once
	return nil
}

func (a *alarms) OnTimer(c *stream.KeyedContext[int64], t stream.Timer, out *stream.Collector[rung]) error {
	n, _ := a.n.Get()
	a.n.Set(n + 1)
	out.Emit(rung{c.Key(), t.Kind == stream.ProcessingTime, t.At, n})
	return nil
}

func alarmRig(t testing.TB, seed uint64, groups int) *rig[rung] {
	t.Helper()
	return newRig[rung](t, seed, groups, "alarms", func(j *stream.Job) {
		k := stream.KeyBy(nothing[alarm](j, "in"), func(a alarm) int64 { return a.Key })
		stream.ForEach(stream.Process(k, "alarms", func() stream.ProcessFunction[int64, alarm, rung] { return &alarms{} }), "out", func(rung) {})
	})
}

// TestTimers_FireExactlyOnceInOrder registers and deletes timers of both kinds at random, while watermarks and the clock advance, with
// snapshots, failures and restores at other parallelisms in between.
func TestTimers_FireExactlyOnceInOrder(t *testing.T) {
	t.Parallel()
	for seed := range uint64(20) {
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) {
			t.Parallel()
			r := alarmRig(t, seed, []int{16, 16, 128, 1, 32768}[seed%5])
			rnd := rand.New(rand.NewPCG(seed, 1))
			events, want := alarmEvents(r, rnd)
			type stream struct {
				subtask int
				clock   bool
			}
			last := map[stream]int64{}
			tasks := &r.tasks
			var first *rigTask[rung]
			r.emitted = func(subtask int, v rung) {
				if first != (*tasks)[0] { // another attempt
					clear(last)
					first = (*tasks)[0]
				}
				s := stream{subtask, v.Clock}
				if at, ok := last[s]; ok && v.At < at {
					t.Errorf("timer %+v fires after one at %d", v, at)
				}
				last[s] = v.At
			}
			got := map[rung]int{}
			perKey := map[int64]int64{}
			for _, v := range r.play(events) {
				perKey[v.Key]++
				v.N = 0
				got[v]++
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("timers that fired (-want +got):\n%s", diff)
			}
		})
	}
}

// alarmEvents makes random events, and says which timers have to fire. All are set for later than the watermark and the clock.
func alarmEvents(r *rig[rung], rnd *rand.Rand) ([]func(), map[rung]int) {
	want := map[rung]int{}
	var events []func()
	mark := [2]int64{}
	for range 150 {
		switch rnd.IntN(5) {
		case 0:
			mark[0] += rnd.Int64N(300)
			t := mark[0]
			events = append(events, func() { r.watermark(t) })
		case 1:
			mark[1] += rnd.Int64N(300)
			t := mark[1]
			events = append(events, func() { r.clock(t) })
		default:
			var batch []alarm
			for range rnd.IntN(100) {
				clock := rnd.IntN(2)
				a := alarm{Key: rnd.Int64N(50), Clock: clock == 1, At: mark[clock] + 1 + rnd.Int64N(500), Clear: rnd.IntN(4) == 0}
				batch = append(batch, a)
				if id := (rung{Key: a.Key, Clock: a.Clock, At: a.At}); a.Clear {
					delete(want, id)
				} else {
					want[id] = 1
				}
			}
			events = append(events, func() { feed(r, 0, batch...) })
		}
	}
	t := mark[1] + 1000 // the end of the input doesn't wait for these
	return append(events, func() { r.clock(t) }), want
}

func TestTimers_OfEventTimeFireAtTheEndOfInput(t *testing.T) {
	t.Parallel()
	r := alarmRig(t, 1, 16)
	r.start(2, nil)
	feed(r, 0, alarm{Key: 1, At: 100}, alarm{Key: 1, At: 1 << 50}, alarm{Key: 1, At: 7, Clock: true})
	r.finish()
	if diff := cmp.Diff([]rung{{1, false, 100, 0}, {1, false, 1 << 50, 1}}, r.out); diff != "" {
		t.Errorf("timers (-want +got):\n%s", diff)
	}
	r.close()
}

// forever sets its next timer whenever one fires.
type forever struct{ alarms }

func (f *forever) OnTimer(c *stream.KeyedContext[int64], t stream.Timer, out *stream.Collector[rung]) error {
	c.SetTimer(t.Kind, t.At+10)
	return f.alarms.OnTimer(c, t, out)
}

func TestTimers_ThatSetTheNextOneEndWithTheInput(t *testing.T) {
	t.Parallel()
	r := newRig[rung](t, 1, 16, "forever", func(j *stream.Job) {
		k := stream.KeyBy(nothing[alarm](j, "in"), func(a alarm) int64 { return a.Key })
		stream.Process(k, "forever", func() stream.ProcessFunction[int64, alarm, rung] { return &forever{} })
	})
	r.start(1, nil)
	feed(r, 0, alarm{Key: 1, At: 10})
	r.watermark(35)
	r.finish()
	var got []int64
	for _, v := range r.out {
		got = append(got, v.At)
	}
	if diff := cmp.Diff([]int64{10, 20, 30, 40}, got); diff != "" {
		t.Errorf("timers (-want +got):\n%s", diff)
	}
	r.close()
}

// TestTimers_ManyGoOutInPortions fires many timers into outputs that have no room most of the time.
func TestTimers_ManyGoOutInPortions(t *testing.T) {
	t.Parallel()
	const n = 300_000
	r := alarmRig(t, 3, 128)
	fired := int64(0)
	r.emitted = func(int, rung) { fired++ }
	r.start(1, nil)
	batch := make([]alarm, 0, record.TargetRows)
	for i := range int64(n) {
		if batch = append(batch, alarm{Key: i % 1000, At: 1 + i/10}); len(batch) == cap(batch) || i == n-1 {
			feed(r, 0, batch...)
			batch = batch[:0]
		}
	}
	r.watermark(n)
	if fired != n {
		t.Errorf("%d timers fired of %d", fired, n)
	}
	r.close()
}

// allKinds uses a state of every kind.
type allKinds struct {
	list *stream.ListState[string, string]
	m    *stream.MapState[string, int32, string]
	sum  *stream.ReducingState[string, int64]
	mean *stream.AggregatingState[string, int64, mean, float64]
}

type mean struct{ Sum, N int64 }

func (k *allKinds) Open(c *stream.KeyedContext[string]) error {
	var errs [4]error
	k.list, errs[0] = stream.OpenListState[string, string](c, "list")
	k.m, errs[1] = stream.OpenMapState[string, int32, string](c, "map")
	k.sum, errs[2] = stream.OpenReducingState(c, "sum", func(a, b int64) int64 { return a + b })
	k.mean, errs[3] = stream.OpenAggregatingState(c, "mean", stream.Aggregate[int64, mean, float64]{
		Add:    func(m mean, v int64) mean { return mean{m.Sum + v, m.N + 1} },
		Result: func(m mean) float64 { return float64(m.Sum) / float64(m.N) },
	})
	return errors.Join(errs[:]...)
}

type reading struct {
	Key string
	N   int64
}

func (k *allKinds) Process(c *stream.KeyedContext[string], v reading, out *stream.Collector[string]) error {
	if v.N < 0 {
		k.list.Clear()
		k.m.Clear()
		k.sum.Clear()
		k.mean.Clear()
		return nil
	}
	k.list.Append(fmt.Sprint("e", v.N))
	k.m.Set(int32(v.N%3), fmt.Sprint("v", v.N))
	k.m.Remove(int32(v.N % 5))
	k.sum.Add(v.N)
	k.mean.Add(v.N)
	entries := maps.Collect(k.m.All())
	if len(entries) != k.m.Len() {
		return fmt.Errorf("map of %d entries says %d", len(entries), k.m.Len())
	}
	sum, _ := k.sum.Get()
	avg, _ := k.mean.Get()
	out.Emit(fmt.Sprint(c.Key(), " ", slices.Collect(k.list.All()), " ", entries, " ", sum, " ", avg))
	return nil
}

// kindsSequential computes what allKinds emits.
func kindsSequential(rows []reading) (want []string) {
	type perKey struct {
		list   []string
		m      map[int32]string
		sum, n int64
	}
	all := map[string]*perKey{}
	for _, v := range rows {
		k := all[v.Key]
		if k == nil || v.N < 0 {
			k = &perKey{m: map[int32]string{}}
			all[v.Key] = k
		}
		if v.N < 0 {
			continue
		}
		k.list = append(k.list, fmt.Sprint("e", v.N))
		k.m[int32(v.N%3)] = fmt.Sprint("v", v.N)
		delete(k.m, int32(v.N%5))
		k.sum, k.n = k.sum+v.N, k.n+1
		want = append(want, fmt.Sprint(v.Key, " ", k.list, " ", k.m, " ", k.sum, " ", float64(k.sum)/float64(k.n)))
	}
	return want
}

// TestKinds_EqualASequentialRun has states of all kinds go through failures and restores at other parallelisms.
func TestKinds_EqualASequentialRun(t *testing.T) {
	t.Parallel()
	for seed := range uint64(20) {
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) {
			t.Parallel()
			r := newRig[string](t, seed, []int{16, 128, 32768}[seed%3], "kinds", func(j *stream.Job) {
				k := stream.KeyBy(nothing[reading](j, "in"), func(v reading) string { return v.Key })
				stream.Process(k, "kinds", func() stream.ProcessFunction[string, reading, string] { return &allKinds{} })
			})
			rnd := rand.New(rand.NewPCG(seed, 2))
			var all []reading
			var events []func()
			for range 60 {
				var batch []reading
				for range rnd.IntN(30) {
					batch = append(batch, reading{fmt.Sprint("key", rnd.IntN(20)), rnd.Int64N(40) - 1})
				}
				all = append(all, batch...)
				events = append(events, func() { feed(r, 0, batch...) })
			}
			want, got := kindsSequential(all), r.play(events)
			slices.Sort(want)
			slices.Sort(got)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("rows (-want +got):\n%s", diff)
			}
		})
	}
}

func TestKinds_OtherKindIsRefused(t *testing.T) {
	t.Parallel()
	describe := func(open func(c *stream.KeyedContext[string]) error) func(j *stream.Job) {
		return func(j *stream.Job) {
			k := stream.KeyBy(nothing[string](j, "in"), func(v string) string { return v })
			stream.Process(k, "op", func() stream.ProcessFunction[string, string, string] { return opener(open) })
		}
	}
	r := newRig[string](t, 1, 16, "op", func(j *stream.Job) {
		k := stream.KeyBy(nothing[string](j, "in"), func(v string) string { return v })
		stream.Process(k, "op", func() stream.ProcessFunction[string, string, string] { return &lister{} })
	})
	r.start(1, nil)
	feed(r, 0, "a")
	s := r.snapshot(0)
	other := newRig[string](t, 1, 16, "op", describe(func(c *stream.KeyedContext[string]) error {
		_, err := stream.OpenMapState[string, string, int64](c, "s")
		return err
	}))
	if err := other.tryStart(1, s); err == nil || !strings.Contains(err.Error(), "kind list in the snapshot but map in the job") {
		t.Errorf("got %v, want that the kind differs", err)
	}
	reserved := newRig[string](t, 1, 16, "op", describe(func(c *stream.KeyedContext[string]) error {
		_, err := stream.OpenState[string, int64](c, "weir.event-timers")
		return err
	}))
	if err := reserved.tryStart(1, nil); err == nil || !strings.Contains(err.Error(), "reserved") {
		t.Errorf("got %v, want that the name is reserved", err)
	}
	r.close()
}

// opener is a function that opens states and does nothing with them.
type opener func(c *stream.KeyedContext[string]) error

func (o opener) Open(c *stream.KeyedContext[string]) error { return o(c) }
func (opener) Process(*stream.KeyedContext[string], string, *stream.Collector[string]) error {
	return nil
}

// lister keeps a list of ones.
type lister struct {
	l *stream.ListState[string, int64]
}

func (l *lister) Open(c *stream.KeyedContext[string]) (err error) {
	l.l, err = stream.OpenListState[string, int64](c, "s")
	return err
}

func (l *lister) Process(*stream.KeyedContext[string], string, *stream.Collector[string]) error {
	l.l.Append(1)
	return nil
}

// join pairs orders with payments of the same key.
type join struct {
	orders *stream.ListState[int64, string]
	paid   *stream.ValueState[int64, bool]
}

type order struct {
	ID   int64
	What string
}

func (f *join) Open(c *stream.KeyedContext[int64]) (err error) {
	if f.orders, err = stream.OpenListState[int64, string](c, "orders"); err != nil {
		return err
	}
	f.paid, err = stream.OpenState[int64, bool](c, "paid")
	return err
}

func (f *join) ProcessFirst(c *stream.KeyedContext[int64], o order, out *stream.Collector[string]) error {
	if paid, _ := f.paid.Get(); paid {
		out.Emit(fmt.Sprint(c.Key(), o.What))
		return nil
	}
	f.orders.Append(o.What)
	return nil
}

func (f *join) ProcessSecond(c *stream.KeyedContext[int64], id int64, out *stream.Collector[string]) error {
	f.paid.Set(true)
	for what := range f.orders.All() {
		out.Emit(fmt.Sprint(id, what))
	}
	f.orders.Clear()
	return nil
}

func TestProcessConnected_SharesKeyedState(t *testing.T) {
	t.Parallel()
	for seed := range uint64(10) {
		r := newRig[string](t, seed, 16, "join", func(j *stream.Job) {
			orders := stream.KeyBy(nothing[order](j, "orders"), func(o order) int64 { return o.ID })
			payments := stream.KeyBy(nothing[int64](j, "payments"), func(id int64) int64 { return id })
			stream.ProcessConnected(orders, payments, "join", func() stream.ConnectedFunction[int64, order, int64, string] { return &join{} })
		})
		rnd := rand.New(rand.NewPCG(seed, 1))
		var events []func()
		var want []string
		paid := map[int64]bool{}
		open := map[int64][]string{}
		for i := range 100 {
			id := rnd.Int64N(30)
			if rnd.IntN(3) == 0 {
				paid[id] = true
				want = append(want, open[id]...)
				delete(open, id)
				events = append(events, func() { feed(r, 1, id) })
				continue
			}
			o := order{id, fmt.Sprint("o", i)}
			if paid[id] {
				want = append(want, fmt.Sprint(id, o.What))
			} else {
				open[id] = append(open[id], fmt.Sprint(id, o.What))
			}
			events = append(events, func() { feed(r, 0, o) })
		}
		got := r.play(events)
		slices.Sort(want)
		slices.Sort(got)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("seed %d: rows (-want +got):\n%s", seed, diff)
		}
	}
}
