// SPDX-License-Identifier: Apache-2.0

package files

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

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
