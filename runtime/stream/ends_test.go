// SPDX-License-Identifier: Apache-2.0

package stream_test

import (
	"context"
	"testing"

	"github.com/weir-stream/weir/runtime/operator"
	"github.com/weir-stream/weir/runtime/stream"
)

// deaf is a source that hears of nothing.
type deaf struct{}

func (deaf) Open(context.Context, *operator.Context) error { return nil }
func (deaf) Poll(rows []int64) ([]int64, operator.Polled, error) {
	return rows, operator.Polled{State: operator.End}, nil
}
func (deaf) Close() error { return nil }

// listening is one that may give up its input.
type listening struct{ deaf }

func (listening) NotifyComplete(context.Context, int64) error { return nil }
func (listening) NotifyAborted(int64)                         {}

// A source that hears of completed checkpoints is taken to give up its input, whatever it is wrapped in.
func TestFrom_SaysWhetherASourceMayGiveUpItsInput(t *testing.T) {
	t.Parallel()
	newDeaf := func() stream.Source[int64] { return deaf{} }
	newListening := func() stream.Source[int64] { return listening{} }
	marks := stream.Watermarks[int64]{At: func(v int64) int64 { return v }}
	tests := map[string]struct {
		source func() stream.Source[int64]
		want   bool
	}{
		"hears of nothing":       {newDeaf, false},
		"listens":                {newListening, true},
		"deaf with watermarks":   {stream.WithWatermarks(newDeaf, marks), false},
		"listens, in watermarks": {stream.WithWatermarks(stream.WithWatermarks(newListening, marks), marks), true},
	}
	for name, tc := range tests {
		j := &stream.Job{}
		stream.ForEach(stream.From(j, "in", tc.source), "out", func(int64) {})
		g, err := j.Graph()
		if err != nil {
			t.Fatal(err)
		}
		if got := g.Nodes[0].Trims; got != tc.want {
			t.Errorf("%s: %t, want %t", name, got, tc.want)
		}
	}
}
