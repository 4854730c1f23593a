// SPDX-License-Identifier: Apache-2.0

package task

import (
	"context"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-stream/weir/runtime/graph"
	"github.com/weir-stream/weir/runtime/operator"
	"github.com/weir-stream/weir/runtime/protocol"
)

// manyChannels follows one snapshot through a task of so many channels, whose barriers come a given time after the first.
func manyChannels(after ...time.Duration) (*progress, *followed) {
	edge := &graph.PhysicalEdge{From: &graph.Vertex{Name: "up"}}
	p := &progress{}
	for ch := range after {
		p.channels = append(p.channels, graph.Channel{ChannelID: graph.ChannelID{From: ch}, PhysicalEdge: edge})
	}
	start := time.Unix(100, 0)
	for ch, d := range after {
		if d == 0 {
			p.barrier(ch, 1, start)
		}
	}
	for ch, d := range after {
		if d > 0 {
			p.barrier(ch, 1, start.Add(d))
		}
	}
	return p, p.find(1)
}

func TestChannelCosts_TellsTheLatestAndTheFullest(t *testing.T) {
	t.Parallel()
	const s = time.Second
	p, f := manyChannels(0, 1*s, 8*s, 3*s, 9*s, 5*s, 7*s, 2*s)
	f.last = f.first.Add(9 * s)
	holds := []hold{
		{channel: 0, time: 9 * s},
		{channel: 1, time: 8 * s, bytes: 10},
		{channel: 7, time: 7 * s},
		{channel: 3, time: 6 * s, bytes: 5},
		{channel: 5, time: 4 * s},
		{channel: 6, time: 2 * s},
		{channel: 2, time: 1 * s},
		{channel: 4},
	}
	got := p.channelCosts(f, holds, []int64{100, 0, 0, 0, 0, 0, 3, 0, 0})
	up := func(n int) protocol.ChannelRef {
		return protocol.ChannelRef{From: protocol.TaskID{Vertex: "up", Subtask: n}}
	}
	want := []protocol.ChannelCost{
		{Channel: up(4), Delay: 9 * s},
		{Channel: up(2), Delay: 8 * s, Blocked: 1 * s},
		{Channel: up(6), Delay: 7 * s, Blocked: 2 * s},
		// Of the others those with the most bytes, the latest first.
		{Channel: up(5), Delay: 5 * s, Blocked: 4 * s, OvertakenBytes: 3},
		{Channel: up(3), Delay: 3 * s, Blocked: 6 * s, BlockedBytes: 5},
		{Channel: up(1), Delay: 1 * s, Blocked: 8 * s, BlockedBytes: 10},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("channels (-want +got):\n%s", diff)
	}
}

func TestChannelCosts_SaysNothingWhereNothingWaited(t *testing.T) {
	t.Parallel()
	two := func(d time.Duration) (*progress, *followed) { return manyChannels(0, d) }
	tests := map[string]struct {
		after []time.Duration
		holds []hold
		over  []int64
		want  int
	}{
		"one channel":               {after: []time.Duration{0}},
		"a quick alignment":         {after: []time.Duration{0, 900 * time.Microsecond}},
		"a slow one":                {after: []time.Duration{0, time.Millisecond}, want: 2},
		"a quick one with a queue":  {after: []time.Duration{0, 1}, holds: []hold{{bytes: 1}}, want: 2},
		"a quick one that overtook": {after: []time.Duration{0, 1}, over: []int64{0, 0, 1}, want: 2},
		"what a restore left":       {after: []time.Duration{0, 1}, over: []int64{1}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, f := manyChannels(tc.after...)
			if got := p.channelCosts(f, tc.holds, tc.over); len(got) != tc.want {
				t.Errorf("got %+v, want %d channels", got, tc.want)
			}
		})
	}
	if p, _ := two(time.Second); p.channelCosts(nil, []hold{{bytes: 1}}, nil) != nil {
		t.Error("a snapshot that isn't followed has channels")
	}
}

func TestOperatorCosts_AreInTheOrderOfTheChain(t *testing.T) {
	t.Parallel()
	of := func(name string, sync time.Duration, lists operator.AsyncSnapshot) part {
		return part{link: &link{node: &graph.Node{Name: name}}, lists: lists, sync: sync}
	}
	none := operator.AsyncSnapshot(nil)
	some := func(context.Context) ([]operator.List, error) { return nil, nil }
	got := operatorCosts([]part{of("sink", 3, some), of("map", 2, none), of("source", 1, some)})
	want := []protocol.OperatorCost{{Operator: "source", Sync: 1}, {Operator: "sink", Sync: 3}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("operators (-want +got):\n%s", diff)
	}
}
