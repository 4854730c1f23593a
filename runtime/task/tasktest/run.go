// SPDX-License-Identifier: Apache-2.0

// Package tasktest runs whole graphs in tests: every task in a goroutine of its own, without a
// coordinator and without snapshots, to the end of the input.
package tasktest

import (
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"

	"github.com/weir-stream/weir/runtime/graph"
	"github.com/weir-stream/weir/runtime/protocol"
	"github.com/weir-stream/weir/runtime/record"
	"github.com/weir-stream/weir/runtime/snapshot"
	"github.com/weir-stream/weir/runtime/task"
	"github.com/weir-stream/weir/runtime/transport"
)

// NoEnv is an environment that takes no snapshots and hears nothing.
type NoEnv struct{}

// StartAsync does nothing.
func (NoEnv) StartAsync(record.Barrier, task.Async) {}

// CancelAsync does nothing.
func (NoEnv) CancelAsync(int64) {}

// Ack does nothing.
func (NoEnv) Ack(int64, map[string]snapshot.SubtaskState, protocol.AckMetrics) {}

// Decline does nothing.
func (NoEnv) Decline(int64, protocol.DeclineReason, error) {}

// EndOfData does nothing.
func (NoEnv) EndOfData() {}

// Notified does nothing.
func (NoEnv) Notified(int64) {}

// Run runs all tasks of a plan in this process, without a coordinator, to the end of the input.
func Run(tb testing.TB, g *graph.Graph, parallelism int) {
	tb.Helper()
	plan, err := graph.NewPlan(g, graph.Options{Parallelism: parallelism})
	if err != nil {
		tb.Fatal(err)
	}
	type key struct{ v, s int }
	signals, gates := map[key]*transport.Signal{}, map[key]*transport.Gate{}
	channel := map[graph.ChannelID]func(*transport.Signal) task.Writer{}
	for _, v := range plan.Vertices {
		for s := range v.Parallelism {
			k := key{v.Index, s}
			signals[k] = transport.NewSignal()
			in := v.InputChannels(s)
			gate := transport.NewGate(len(in), 0, signals[k])
			gates[k] = gate
			for i, c := range in {
				channel[c.ChannelID] = func(room *transport.Signal) task.Writer { return gate.Writer(i, room) }
			}
		}
	}
	var wg sync.WaitGroup
	for _, v := range plan.Vertices {
		for s := range v.Parallelism {
			k := key{v.Index, s}
			o := task.Options{
				Plan: plan, Vertex: v, Subtask: s, Attempt: protocol.Attempt{K: 1}, Env: NoEnv{}, Inputs: gates[k],
				Wake: signals[k].Set, Now: time.Now, Log: logr.Discard(),
			}
			for _, e := range v.Outputs {
				var ws []task.Writer
				for _, id := range e.OutputChannels(s) {
					ws = append(ws, channel[id](signals[k]))
				}
				o.Writers = append(o.Writers, ws)
			}
			l := task.Loop{Core: task.New(o), Mail: task.NewMailbox(signals[k].Set), Signal: signals[k].C()}
			if !v.Source() {
				l.Gate = gates[k]
			}
			wg.Go(func() {
				if err := l.Run(tb.Context()); err != nil {
					tb.Errorf("task %s/%d: %v", v.Name, s, err)
				}
			})
		}
	}
	wg.Wait()
}
