// SPDX-License-Identifier: Apache-2.0

package files

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-stream/weir/runtime/contract"
	"github.com/weir-stream/weir/runtime/operator"
	"github.com/weir-stream/weir/runtime/stream"
)

func TestLines_RowsStayAsTheyAre(t *testing.T) {
	dir := t.TempDir()
	var want []string
	for i := range 5000 {
		want = append(want, strings.Repeat(string(rune('a'+i%26)), i%97))
	}
	want = append(want, strings.Repeat("long", textBlock))
	write(t, dir+"/f", strings.Join(want, "\n")+"\n")
	wake := make(chan struct{}, 1)
	c := sinkContext("in", "1", nil)
	c.Wake = func() {
		select {
		case wake <- struct{}{}:
		default:
		}
	}
	s := Lines(Input{Path: dir})()
	if err := s.Open(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	var got []string
	for state := operator.More; state != operator.End; {
		rows, p, err := s.Poll(nil)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, rows...)
		if state = p.State; state == operator.Wait {
			<-wake
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("rows differ (-want +got):\n%s", d)
	}
}

func TestLinesAndSink_MakeAGraph(t *testing.T) {
	j := &stream.Job{}
	in := stream.From(j, "in", Lines(Input{Path: "x"}), stream.Bounded())
	stream.To(in, "out", Sink(Output{Path: "y"}, func(dst []byte, row string) []byte { return append(append(dst, row...), '\n') }), stream.Transactional())
	g, err := j.Graph()
	if err != nil || len(g.Nodes) != 2 {
		t.Fatal(g, err)
	}
	if _, ok := g.Nodes[0].NewSource().(operator.Stateful); !ok {
		t.Error("the position of the source isn't part of snapshots")
	}
}

func TestInput_MistakesComeWithOpen(t *testing.T) {
	s := Lines(Input{})()
	wantError(t, s.Open(t.Context(), sinkContext("in", "1", nil)), "path is empty")
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

func TestLinesAndSink_ReachS3AsTheStorageOfTheJob(t *testing.T) {
	ofJob, own := &contract.S3{Endpoint: "http://job:9000", Region: "eu"}, &contract.S3{Endpoint: "http://own:9000"}
	graphOf := func(job contract.JobConfig, s3 *contract.S3, marked bool) (source, sinkSettings *contract.S3) {
		j := &stream.Job{Config: job}
		var last *lineSource
		lines := func() stream.Source[string] {
			s := Lines(Input{Path: "s3://weir/in", S3: s3})()
			last = s.(*lineSource)
			return s
		}
		if marked {
			lines = stream.WithWatermarks(lines, stream.Watermarks[string]{At: func(string) int64 { return 0 }})
		}
		in := stream.From(j, "in", lines, stream.Bounded())
		stream.To(in, "out", Sink(Output{Path: "s3://weir/out", S3: s3}, func(dst []byte, row string) []byte { return append(dst, row...) }), stream.Transactional())
		g, err := j.Graph()
		if err != nil {
			t.Fatal(err)
		}
		g.Nodes[0].NewSource()
		return last.in.settings, g.Nodes[1].NewOperator().(*sink).to.settings
	}
	tests := map[string]struct {
		job       contract.JobConfig
		own, want *contract.S3
	}{
		"storage on S3":            {contract.JobConfig{Storage: &contract.Storage{S3: ofJob}}, nil, ofJob},
		"settings of its own":      {contract.JobConfig{Storage: &contract.Storage{S3: ofJob}}, own, own},
		"storage on a volume":      {contract.JobConfig{Storage: &contract.Storage{}}, nil, nil},
		"no storage":               {contract.JobConfig{}, nil, nil},
		"settings, but no storage": {contract.JobConfig{}, own, own},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			for _, marked := range []bool{false, true} {
				if source, sink := graphOf(tc.job, tc.own, marked); source != tc.want || sink != tc.want {
					t.Errorf("with watermarks %t, the source has %+v and the sink %+v instead of %+v", marked, source, sink, tc.want)
				}
			}
		})
	}
}
