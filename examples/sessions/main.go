// SPDX-License-Identifier: Apache-2.0

// Command sessions finds the visits in a log of page views: a visit of a user ends when the user has not been seen for a while.
//
//	SESSIONS_IN=views SESSIONS_OUT=visits go run ./examples/sessions run --storage state
//
// Every line below the input directory is a page view: the time in milliseconds since the Unix epoch, the user, and the page,
// with spaces between. Lines that are none are left out. Names of files are in the order of time: a file is read after the one before it,
// and a view that comes more than a minute after later ones is late. Every line of the output is a visit, written once.
//
// It is configured by the environment:
//
//	SESSIONS_IN     where the input is: a directory, a pattern or s3://bucket/prefix (default "in")
//	SESSIONS_OUT    where the output goes (default "out")
//	SESSIONS_GAP    how long a user has to be away for a visit to end (default 30m)
//	SESSIONS_FOLLOW how often to look for more input; unset: read what is there, and end
package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/weir-stream/weir/runtime/connector/files"
	"github.com/weir-stream/weir/runtime/program"
	"github.com/weir-stream/weir/runtime/stream"
)

func main() {
	program.Main(stream.Build(func(j *stream.Job) { describe(fromEnvironment())(j) }))
}

// config is what a run needs to know.
type config struct {
	in, out string
	// gap ends a visit; outOfOrder is by how much a view may come late.
	gap, outOfOrder time.Duration
	// follow is how often to look for more input; 0: the input is bounded.
	follow time.Duration
}

func fromEnvironment() config {
	return config{
		in: cmp.Or(os.Getenv("SESSIONS_IN"), "in"), out: cmp.Or(os.Getenv("SESSIONS_OUT"), "out"),
		gap: duration("SESSIONS_GAP", 30*time.Minute), follow: duration("SESSIONS_FOLLOW", 0), outOfOrder: time.Minute,
	}
}

// duration is a duration of the environment, or otherwise if it isn't there.
func duration(name string, otherwise time.Duration) time.Duration {
	s := os.Getenv(name)
	if s == "" {
		return otherwise
	}
	d, err := time.ParseDuration(s)
	if err != nil {
		panic(fmt.Sprintf("%s=%q is not a duration such as 30m", name, s))
	}
	return d
}

// view is a page that a user has looked at.
type view struct {
	At   int64 // in milliseconds since the Unix epoch
	User string
	Page string
}

// parse reads a line of the input.
func parse(line string) (view, bool) {
	at, rest, _ := strings.Cut(line, " ")
	user, page, ok := strings.Cut(rest, " ")
	ms, err := strconv.ParseInt(at, 10, 64)
	return view{ms, user, page}, ok && err == nil
}

// visit is what is kept of an open visit, and what is written of one that has ended.
type visit struct {
	Views int64
	// First and Last page of it, and when they were looked at.
	First, Last     string
	FirstAt, LastAt int64
}

func (v visit) add(p view) visit {
	return v.with(visit{Views: 1, First: p.Page, Last: p.Page, FirstAt: p.At, LastAt: p.At})
}

// with joins two visits. Views may come in any order.
func (v visit) with(o visit) visit {
	if v.Views == 0 {
		return o
	}
	v.Views += o.Views
	if o.FirstAt < v.FirstAt {
		v.First, v.FirstAt = o.First, o.FirstAt
	}
	if o.LastAt >= v.LastAt {
		v.Last, v.LastAt = o.Last, o.LastAt
	}
	return v
}

func describe(c config) func(j *stream.Job) {
	return func(j *stream.Job) {
		var opts []stream.Option
		if c.follow == 0 {
			opts = append(opts, stream.Bounded())
		}
		lines := stream.From(j, "lines", stream.WithWatermarks(
			files.Lines(files.Input{Path: c.in, PollInterval: c.follow}),
			stream.Watermarks[string]{At: timeOf, OutOfOrder: c.outOfOrder, IdleAfter: 10 * time.Second},
		), opts...)
		views := stream.FlatMap(lines, "views", func(line string, out *stream.Collector[view]) {
			if v, ok := parse(line); ok {
				out.Emit(v)
			}
		})
		byUser := stream.KeyBy(views, func(v view) string { return v.User })
		sessions := stream.WindowBy(byUser, stream.Sessions(c.gap), func(v view) int64 { return v.At })
		visits := stream.AggregateWindow(sessions, "visits", stream.Aggregate[view, visit, visit]{
			Add: visit.add, Merge: visit.with, Result: func(v visit) visit { return v },
		})
		stream.To(visits, "out", files.Sink(files.Output{Path: c.out}, appendVisit), stream.Transactional())
	}
}

// timeOf is the event time of a line; of one that has none it is the beginning of time, which says nothing.
func timeOf(line string) int64 {
	v, ok := parse(line)
	if !ok {
		return -1 << 63
	}
	return v.At
}

// line is a visit as it is written.
type line struct {
	User    string `json:"user"`
	Start   int64  `json:"start"`
	Seconds int64  `json:"seconds"`
	Views   int64  `json:"views"`
	First   string `json:"first"`
	Last    string `json:"last"`
}

// appendVisit writes one line of the output.
func appendVisit(dst []byte, p stream.Pane[string, visit]) []byte {
	v := p.Value
	b, err := json.Marshal(line{p.Key, v.FirstAt, (v.LastAt - v.FirstAt) / 1000, v.Views, v.First, v.Last})
	if err != nil {
		panic(err) // strings and numbers always have a form in JSON
	}
	return append(append(dst, b...), '\n')
}
