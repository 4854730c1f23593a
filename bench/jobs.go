// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/weir-stream/weir/runtime/contract"
	"github.com/weir-stream/weir/runtime/graph"
	"github.com/weir-stream/weir/runtime/stream"
)

const (
	parallelism = 2
	// checkpointInterval is that of all jobs that have checkpoints.
	checkpointInterval = time.Second
	manyKeyGroups      = 32768
	chainKeys          = 1 << 40
)

// scenario is one thing to measure.
type scenario struct {
	name, title string
	// keys of a keyed count; 0 keys of an sdk job is one without input.
	keys uint64
	// bare is the loop without an engine.
	bare bool
	// chain is map, filter, map instead of a keyed count.
	chain bool
	// text and json are declarative jobs.
	text, json bool
	// workers is the number of processes; 0 for one process with everything in it.
	workers       int
	mtls          bool
	noCheckpoints bool
	// interval of the checkpoints; 0 for checkpointInterval.
	interval  time.Duration
	keyGroups int
	// turns measures the share of the rate that is left with checkpoints as often as this, in turns with none in the same process.
	turns time.Duration
	// recovery measures the time from the kill of a worker to the first row after it, instead of a rate.
	recovery bool
	// target is the wanted rate per second, and unit what of; targetMiB the wanted memory.
	target    float64
	unit      string
	targetMiB float64
	// targetMillis is the wanted time of a recovery.
	targetMillis float64
	// targetLeft is the wanted share of the rate.
	targetLeft float64
}

// memory says that it is memory that is measured.
func (s *scenario) memory() bool { return s.targetMiB > 0 }

const unitRecords, unitLines = "records/s", "lines/s"

var scenarios = []scenario{
	{name: "bare-1m", title: "Bare loop, 1 M keys", bare: true, keys: 1_000_000, unit: unitRecords},
	{name: "count-1m", title: "SDK keyed count, 1 M keys", keys: 1_000_000, target: 20e6, unit: unitRecords},
	{name: "count-1m-off", title: "The same without checkpoints", keys: 1_000_000, noCheckpoints: true, unit: unitRecords},
	{name: "count-1m-100ms", title: "The same with a checkpoint every 100 ms", keys: 1_000_000, interval: 100 * time.Millisecond, unit: unitRecords},
	{name: "count-1m-10s", title: "The same with a checkpoint every 10 s", keys: 1_000_000, interval: 10 * time.Second, unit: unitRecords},
	{name: "turns-1m-1s", title: "Rate left with a checkpoint every second, turns of one process, 1 M keys", keys: 1_000_000, turns: time.Second, targetLeft: 0.97, unit: unitRecords},
	{name: "turns-1m-100ms", title: "Rate left with a checkpoint every 100 ms, turns of one process, 1 M keys", keys: 1_000_000, turns: 100 * time.Millisecond, targetLeft: 0.9, unit: unitRecords},
	{name: "processes", title: "Keyed count, 1 M keys, two worker processes", keys: 1_000_000, workers: 2, target: 10e6, unit: unitRecords},
	{name: "processes-mtls", title: "The same with mTLS", keys: 1_000_000, workers: 2, mtls: true, target: 7e6, unit: unitRecords},
	{name: "chain", title: "map → filter → map", chain: true, target: 100e6, unit: unitRecords},
	{name: "words", title: "Declarative word count of text lines", text: true, target: 1.5e6, unit: unitLines},
	{name: "json", title: "Declarative filter and map, JSON lines of 200 bytes", json: true, target: 0.8e6, unit: unitLines},
	{name: "bare-10k", title: "Bare loop, 10 k keys", bare: true, keys: 10_000, unit: unitRecords},
	{name: "count-10k", title: "SDK keyed count, 10 k keys", keys: 10_000, unit: unitRecords},
	{name: "bare-10m", title: "Bare loop, 10 M keys", bare: true, keys: 10_000_000, unit: unitRecords},
	{name: "count-10m", title: "SDK keyed count, 10 M keys", keys: 10_000_000, unit: unitRecords},
	{name: "recovery", title: "From the kill of a worker to the first row after it, 100 MB of state", keys: recoveryKeys, workers: 2, recovery: true, targetMillis: 2000},
	{name: "memory", title: "32 768 key groups, empty state", keyGroups: manyKeyGroups, targetMiB: 64},
}

func scenarioOf(name string) (*scenario, error) {
	for i := range scenarios {
		if scenarios[i].name == name {
			return &scenarios[i], nil
		}
	}
	return nil, fmt.Errorf("there is no benchmark %q", name)
}

// config is the configuration of the job of a scenario. Its name says which, also to worker processes.
func (s *scenario) config(dir, input string) contract.JobConfig {
	cfg := contract.JobConfig{
		Namespace: "bench", Name: s.name, Parallelism: parallelism, MaxParallelism: s.keyGroups,
		Restart: contract.Restart{None: &struct{}{}},
		Storage: &contract.Storage{Volume: &contract.Volume{Path: dir}},
	}
	if !s.noCheckpoints {
		cfg.Checkpointing = &contract.Checkpointing{Interval: contract.Duration(cmp.Or(s.interval, checkpointInterval))}
	}
	if s.turns > 0 {
		cfg.Checkpointing.Interval = contract.Duration(never)
	}
	if s.recovery {
		cfg.Restart = contract.Restart{FixedDelay: &contract.FixedDelay{Delay: contract.Duration(recoveryDelay)}}
	}
	switch {
	case s.text:
		cfg.Dataflow = wordCount(input)
	case s.json:
		cfg.Dataflow = filterMap(input)
	}
	return cfg
}

// build makes the graph of a job by its name.
func build(cfg contract.JobConfig) (*graph.Graph, error) {
	s, err := scenarioOf(cfg.Name)
	if err != nil {
		return nil, err
	}
	switch {
	case s.text || s.json:
		return buildDataflow(cfg)
	case s.chain:
		return stream.Build(describeChain)(cfg)
	default:
		return buildCount(cfg, s.keys, nil)
	}
}

// buildCount makes the graph of a keyed count whose sources add what they emit to emitted, if it isn't nil.
func buildCount(cfg contract.JobConfig, keys uint64, emitted *atomic.Int64) (*graph.Graph, error) {
	return stream.Build(func(j *stream.Job) { describeCount(j, keys, emitted) })(cfg)
}

func describeCount(j *stream.Job, keys uint64, emitted *atomic.Int64) {
	in := stream.From(j, "source", func() stream.Source[int64] { return &source{keys: keys, emitted: emitted} })
	counts := stream.Count(stream.KeyBy(in, func(k int64) int64 { return k }), "count")
	stream.To(counts, "sink", newSink)
}

// The functions of the chain.
func chainFirst(k int64) int64 { return k + 1 }
func chainKeep(k int64) bool   { return k&3 != 0 }
func chainLast(k int64) int64  { return k * 3 }

func describeChain(j *stream.Job) {
	in := stream.From(j, "source", func() stream.Source[int64] { return &source{keys: chainKeys} })
	kept := stream.Filter(stream.Map(in, "first", chainFirst), "keep", chainKeep)
	stream.To(stream.Map(kept, "last", chainLast), "sink", newSink)
}

// check compares what the job did with what it should have done, and returns the emitted records and their time.
func (s *scenario) check(ctx context.Context, r *readback, in *input) (mark, error) {
	sinks, err := r.marks("sink")
	if err != nil {
		return mark{}, err
	}
	took := addMarks(sinks)
	switch {
	case s.text:
		all := mark{Rows: in.lines * in.copies, Start: took.Start, End: took.End}
		return all, checkWords(ctx, r, in, took)
	case s.json:
		all := mark{Rows: in.lines * in.copies, Start: took.Start, End: took.End}
		return all, checkSinkRows(took, in.passing*in.copies)
	}
	sources, err := r.marks("source")
	if err != nil {
		return mark{}, err
	}
	emitted := addMarks(sources)
	emitted.End = took.End
	if s.chain {
		return emitted, checkChain(sources, took)
	}
	return emitted, checkCount(ctx, r, s.keys, emitted, took)
}
