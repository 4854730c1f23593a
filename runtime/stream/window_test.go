// SPDX-License-Identifier: Apache-2.0

package stream_test

import (
	"cmp"
	"fmt"
	"iter"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/weir-stream/weir/runtime/contract"
	"github.com/weir-stream/weir/runtime/stream"
)

// click is a row with an event time.
type click struct {
	User string
	At   int64
	N    int64
}

func byUser(c click) string { return c.User }
func atClick(c click) int64 { return c.At }

// total is what tests compute of the rows of a window: numbers whose order doesn't matter.
type total struct{ Sum, Rows, Squares int64 }

func (t total) add(n int64) total { return total{t.Sum + n, t.Rows + 1, t.Squares + n*n} }

// windowJob is a job with one windowed operator.
type windowJob func(w stream.Windowed[string, click]) stream.Stream[stream.Pane[string, total]]

// windowJobs are the ways to make a total of a window.
var windowJobs = map[string]windowJob{
	"aggregate": func(w stream.Windowed[string, click]) stream.Stream[stream.Pane[string, total]] {
		return stream.AggregateWindow(w, "windows", stream.Aggregate[click, total, total]{
			Add:    func(t total, c click) total { return t.add(c.N) },
			Merge:  func(a, b total) total { return total{a.Sum + b.Sum, a.Rows + b.Rows, a.Squares + b.Squares} },
			Result: func(t total) total { return t },
		})
	},
	"process": func(w stream.Windowed[string, click]) stream.Stream[stream.Pane[string, total]] {
		return stream.ProcessWindow(w, "windows", func(key string, w stream.Window, rows iter.Seq[click], out *stream.Collector[stream.Pane[string, total]]) {
			sum := total{}
			for c := range rows {
				sum = sum.add(c.N)
			}
			out.Emit(stream.Pane[string, total]{Key: key, Start: w.Start, End: w.End, Value: sum})
		})
	},
}

func windowRig(t *testing.T, seed uint64, groups int, spec stream.Windows, at func(click) int64, job windowJob) *rig[stream.Pane[string, total]] {
	t.Helper()
	return newRig[stream.Pane[string, total]](t, seed, groups, "windows", func(j *stream.Job) {
		job(stream.WindowBy(stream.KeyBy(nothing[click](j, "in"), byUser), spec, at))
	})
}

// alignedSequential computes tumbling and sliding windows.
func alignedSequential(rows []click, size, slide int64) []string {
	totals := map[stream.Pane[string, int]]total{}
	for _, c := range rows {
		for start := int64(-10_000) * slide; start <= c.At; start += slide {
			if c.At < start+size {
				k := stream.Pane[string, int]{Key: c.User, Start: start, End: start + size}
				totals[k] = totals[k].add(c.N)
			}
		}
	}
	var out []string
	for k, v := range totals {
		out = append(out, fmt.Sprint(stream.Pane[string, total]{Key: k.Key, Start: k.Start, End: k.End, Value: v}))
	}
	slices.Sort(out)
	return out
}

// sessionsSequential computes session windows.
func sessionsSequential(rows []click, gap int64) []string {
	rows = slices.Clone(rows)
	slices.SortFunc(rows, func(a, b click) int { return cmp.Or(cmp.Compare(a.User, b.User), cmp.Compare(a.At, b.At)) })
	var panes []stream.Pane[string, total]
	for _, c := range rows {
		if n := len(panes); n == 0 || panes[n-1].Key != c.User || c.At > panes[n-1].End {
			panes = append(panes, stream.Pane[string, total]{Key: c.User, Start: c.At})
		}
		p := &panes[len(panes)-1]
		p.End, p.Value = c.At+gap, p.Value.add(c.N)
	}
	return texts(panes)
}

func texts[T any](vs []T) []string {
	var out []string
	for _, v := range vs {
		out = append(out, fmt.Sprint(v))
	}
	slices.Sort(out)
	return out
}

// clickEvents makes batches of rows out of order, but not late, and watermarks.
func clickEvents(r *rig[stream.Pane[string, total]], rnd *rand.Rand) (events []func(), all []click) {
	mark := int64(-2000)
	for range 80 {
		if rnd.IntN(3) == 0 {
			mark += rnd.Int64N(400)
			t := mark
			events = append(events, func() { r.watermark(t) })
			continue
		}
		var batch []click
		for range rnd.IntN(60) {
			batch = append(batch, click{fmt.Sprint("user", rnd.IntN(25)), mark + 1 + rnd.Int64N(1500), rnd.Int64N(100)})
		}
		all = append(all, batch...)
		events = append(events, func() { feed(r, 0, batch...) })
	}
	return events, all
}

// TestWindows_EqualASequentialRun has windows of every kind go through failures and restores at other parallelisms.
func TestWindows_EqualASequentialRun(t *testing.T) {
	t.Parallel()
	specs := map[string]struct {
		spec stream.Windows
		want func(rows []click) []string
	}{
		"tumbling": {stream.Tumbling(250 * time.Millisecond), func(rows []click) []string { return alignedSequential(rows, 250, 250) }},
		"sliding":  {stream.Sliding(300*time.Millisecond, 70*time.Millisecond), func(rows []click) []string { return alignedSequential(rows, 300, 70) }},
		"session":  {stream.Sessions(80 * time.Millisecond), func(rows []click) []string { return sessionsSequential(rows, 80) }},
		"session, lateness allowed": {
			stream.Sessions(80 * time.Millisecond).AllowLateness(time.Hour),
			func(rows []click) []string { return sessionsSequential(rows, 80) },
		},
	}
	for name, tc := range specs {
		for how, job := range windowJobs {
			for seed := range uint64(6) {
				t.Run(fmt.Sprintf("%s/%s/seed=%d", name, how, seed), func(t *testing.T) {
					t.Parallel()
					r := windowRig(t, seed, []int{1, 4, 32768}[seed%3], tc.spec, atClick, job)
					events, all := clickEvents(r, rand.New(rand.NewPCG(seed, 9)))
					if diff := gocmp.Diff(tc.want(all), texts(r.play(events))); diff != "" {
						t.Errorf("windows (-want +got):\n%s", diff)
					}
				})
			}
		}
	}
}

func TestWindows_ReduceKeepsOneRow(t *testing.T) {
	t.Parallel()
	for seed := range uint64(6) {
		r := newRig[stream.Pane[string, click]](t, seed, 128, "windows", func(j *stream.Job) {
			w := stream.WindowBy(stream.KeyBy(nothing[click](j, "in"), byUser), stream.Sessions(100*time.Millisecond), atClick)
			stream.ReduceWindow(w, "windows", func(acc, c click) click {
				return click{acc.User, max(acc.At, c.At), acc.N + c.N}
			})
		})
		got := r.play([]func(){
			func() { feed(r, 0, click{"a", 0, 1}, click{"b", 50, 2}, click{"a", 250, 4}) },
			func() { r.watermark(40) },
			func() { feed(r, 0, click{"a", 120, 8}) },
			func() { feed(r, 0, click{"a", 80, 16}) },  // joins 0 and 120
			func() { feed(r, 0, click{"a", 220, 32}) }, // joins both with 250
		})
		want := []string{"{a 0 350 {a 250 61}}", "{b 50 150 {b 50 2}}"}
		if diff := gocmp.Diff(want, texts(got)); diff != "" {
			t.Errorf("seed %d: windows (-want +got):\n%s", seed, diff)
		}
	}
}

// TestWindows_LateRows shows what happens to rows behind the watermark.
func TestWindows_LateRows(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		spec    stream.Windows
		want    []string // in order
		dropped int64
	}{
		"tumbling, none allowed": {stream.Tumbling(100 * time.Millisecond), []string{
			"{u 0 100 {1 1 1}}", "{u 100 200 {8 1 64}}",
		}, 2},
		"tumbling, 50 ms allowed": {stream.Tumbling(100 * time.Millisecond).AllowLateness(50 * time.Millisecond), []string{
			"{u 0 100 {1 1 1}}", "{u 0 100 {3 2 5}}", "{u 100 200 {8 1 64}}",
		}, 1},
		"sessions, none allowed": {stream.Sessions(20 * time.Millisecond), []string{
			"{u 10 30 {1 1 1}}", "{u 150 170 {8 1 64}}",
		}, 2},
		"sessions, 90 ms allowed": {stream.Sessions(20 * time.Millisecond).AllowLateness(90 * time.Millisecond), []string{
			"{u 10 30 {1 1 1}}", "{u 10 45 {3 2 5}}", "{u 150 170 {8 1 64}}",
		}, 1},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := windowRig(t, 1, 16, tc.spec, atClick, windowJobs["aggregate"])
			r.start(1, nil)
			feed(r, 0, click{"u", 10, 1})
			r.watermark(100)
			feed(r, 0, click{"u", 25, 2}) // within what may be allowed
			r.watermark(149)
			feed(r, 0, click{"u", 26, 4}) // too late for all
			feed(r, 0, click{"u", 150, 8})
			r.watermark(1000)
			r.finish()
			var got []string
			for _, p := range r.out {
				got = append(got, fmt.Sprint(p))
			}
			if diff := gocmp.Diff(tc.want, got); diff != "" {
				t.Errorf("windows (-want +got):\n%s", diff)
			}
			if n := r.counter("lateRows"); n != tc.dropped {
				t.Errorf("%d rows were counted as late, want %d", n, tc.dropped)
			}
			if n := r.tasks[0].mem.Seal().Len(); n != 0 {
				t.Errorf("%d entries of state are left", n)
			}
			r.close()
		})
	}
}

// TestWindows_OfProcessingTime go by the clock, and are emitted at the end of the input, too.
func TestWindows_OfProcessingTime(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		spec stream.Windows
		want []string
	}{
		"tumbling": {stream.Tumbling(time.Second), []string{"{a 0 1000 {3 2 5}}", "{a 1000 2000 {4 1 16}}", "{a 5000 6000 {8 1 64}}"}},
		"sessions": {stream.Sessions(time.Second), []string{"{a 100 2000 {7 3 21}}", "{a 5000 6000 {8 1 64}}"}},
	}
	for name, tc := range tests {
		for seed := range uint64(6) {
			t.Run(fmt.Sprintf("%s/seed=%d", name, seed), func(t *testing.T) {
				t.Parallel()
				r := windowRig(t, seed, 16, tc.spec, nil, windowJobs["process"])
				got := r.play([]func(){
					func() { r.clock(100) },
					func() { feed(r, 0, click{User: "a", N: 1}) },
					func() { r.clock(900) },
					func() { feed(r, 0, click{User: "a", N: 2}) },
					func() { r.clock(1000) },
					func() { feed(r, 0, click{User: "a", N: 4}) },
					func() { r.clock(5000) },
					func() { feed(r, 0, click{User: "a", N: 8}) },
				})
				if diff := gocmp.Diff(tc.want, texts(got)); diff != "" {
					t.Errorf("windows (-want +got):\n%s", diff)
				}
			})
		}
	}
}

func TestWindows_ImpossibleOnesAreRefused(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		spec stream.Windows
		at   func(click) int64
		want string
	}{
		"size":     {stream.Tumbling(0), atClick, "above zero"},
		"slide":    {stream.Sliding(time.Second, time.Minute), atClick, "begin every 1m0s"},
		"micro":    {stream.Tumbling(time.Microsecond), atClick, "whole milliseconds"},
		"gap":      {stream.Sessions(-1), atClick, "gap of -1ns"},
		"lateness": {stream.Sessions(time.Second).AllowLateness(-1), atClick, "not below zero"},
		"by clock": {stream.Tumbling(time.Second).AllowLateness(time.Second), nil, "no row can be late"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := stream.Build(func(j *stream.Job) {
				windowJobs["process"](stream.WindowBy(stream.KeyBy(nothing[click](j, "in"), byUser), tc.spec, tc.at))
			})(contract.JobConfig{})
			if err == nil || !strings.Contains(err.Error(), tc.want) || !strings.Contains(err.Error(), `operator "windows"`) {
				t.Errorf("got %v, want an error with %q", err, tc.want)
			}
		})
	}
}

// TestWindows_WithWatermarksOfTheSource runs a whole job.
func TestWindows_WithWatermarksOfTheSource(t *testing.T) {
	t.Parallel()
	run(t, []string{"{a 0 100 {3 2 5}}", "{a 300 400 {4 1 16}}", "{b 0 100 {8 1 64}}"}, func(j *stream.Job) func() []string {
		in := stream.From(j, "clicks", stream.WithWatermarks(func() stream.Source[click] {
			return &rows[click]{all: []click{{"a", 10, 1}, {"b", 20, 8}, {"a", 5, 2}, {"a", 300, 4}}}
		}, stream.Watermarks[click]{At: atClick, OutOfOrder: 50 * time.Millisecond}), stream.Bounded())
		w := stream.WindowBy(stream.KeyBy(in, byUser), stream.Tumbling(100*time.Millisecond), atClick)
		return collect(windowJobs["aggregate"](w), "out").sorted
	})
}

// TestWindows_ChangedOverASavepoint has windows that are open end as they were cut, whatever the new ones are.
func TestWindows_ChangedOverASavepoint(t *testing.T) {
	t.Parallel()
	ms := func(n int) time.Duration { return time.Duration(n) * time.Millisecond }
	tests := map[string]struct {
		before, after stream.Windows
		want          []string // in order
	}{
		"size": {stream.Tumbling(ms(100)), stream.Tumbling(ms(1000)), []string{
			"{u 0 100 {1 1 1}}", "{u 0 1000 {2 1 4}}",
		}},
		"sessions keep late rows now": {stream.Sessions(ms(50)), stream.Sessions(ms(30)).AllowLateness(ms(200)), []string{
			"{u 10 110 {3 2 5}}", "{u 10 110 {7 3 21}}",
		}},
		"sessions keep no late rows now": {stream.Sessions(ms(50)).AllowLateness(ms(500)), stream.Sessions(ms(30)), []string{
			"{u 10 110 {3 2 5}}",
		}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := windowRig(t, 1, 16, tc.before, atClick, windowJobs["aggregate"])
			r.start(1, nil)
			feed(r, 0, click{"u", 10, 1})
			if name != "size" {
				feed(r, 0, click{"u", 60, 2})
			}
			s := r.snapshot(0)
			r.close()
			r = windowRig(t, 1, 16, tc.after, atClick, windowJobs["aggregate"])
			r.start(2, s)
			if name == "size" {
				feed(r, 0, click{"u", 50, 2})
			}
			r.watermark(150)
			if name != "size" {
				feed(r, 0, click{"u", 80, 4}) // late
			}
			r.watermark(2000)
			var got []string
			for _, p := range r.out {
				got = append(got, fmt.Sprint(p))
			}
			if diff := gocmp.Diff(tc.want, got); diff != "" {
				t.Errorf("windows (-want +got):\n%s", diff)
			}
			left := 0
			for _, k := range r.tasks {
				left += k.mem.Seal().Len()
			}
			if left != 0 {
				t.Errorf("%d entries of state are left", left)
			}
			r.close()
		})
	}
}
