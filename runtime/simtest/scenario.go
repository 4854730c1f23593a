// SPDX-License-Identifier: Apache-2.0

package simtest

import (
	"math/rand/v2"
	"time"

	"github.com/weir-stream/weir/runtime/contract"
	"github.com/weir-stream/weir/runtime/graph"
	"github.com/weir-stream/weir/runtime/job"
	"github.com/weir-stream/weir/runtime/operator"
	"github.com/weir-stream/weir/runtime/record"
)

// nodeKind is the kind of an operator in a scenario.
type nodeKind uint8

const (
	sourceNode nodeKind = iota
	shiftNode
	fanNode
	delayNode
	counterNode
	sinkNode
)

// node is one operator of a scenario.
type node struct {
	kind   nodeKind
	name   string
	inputs []input
	// source is set for sources; offsets, one for each input, for shifts.
	source  *sourceSpec
	offsets []int64
	single  bool
	// delay is for how many milliseconds rows are kept.
	delay int64
	// hold makes a shift keep rows back, keep also over snapshots.
	hold, keep bool
	union      bool
	// keys that pass through it, for the oracle.
	keys []int64
	// own is the parallelism that differs from the job's, as a share of it in quarters; 0 for none.
	own     int
	noChain bool
}

type input struct {
	from      string
	partition graph.Partitioning
	// index is the logical input.
	index int
}

// scenario is what a seed makes of a job. It stays the same while the job is stopped and resumed at another parallelism.
type scenario struct {
	nodes      []*node
	groups     int
	rowsPerKey int64
	ordered    bool
	// maxParallelism is the highest that versions use.
	maxParallelism int
	// atLeastOnce makes the job skip alignment.
	atLeastOnce bool
	// crowded lets many checkpoints be in flight at once, of which many are given up, and tasks stop now and then.
	crowded bool
	// endless says that some sources wait for more when they have read all their rows; the job is stopped then.
	endless bool
	// incremental lets checkpoints refer to files of the one before.
	incremental bool
	// alignment is how barriers wait for each other; no mode for aligned.
	alignment contract.Alignment
	// rare makes the interval of checkpoints so long that most are asked for by users.
	rare bool
	// deletes makes the end of the job take its checkpoints along. Nobody stops it with a savepoint then.
	deletes bool
	// rots is the policy of a job whose snapshots get damaged; empty if they don't. plain means sinks that don't commit but write
	// at once, so that rows may come again.
	rots  contract.OnCorruption
	plain bool
	// rewinds makes new versions go back to older snapshots often; most have sinks that don't commit. keeps makes sources keep all input.
	rewinds, keeps bool
	// volatile means no storage: snapshots live as long as the coordinator.
	volatile bool
	// timeout is that of checkpoints, whatever the seed says; 0 for what it says.
	timeout time.Duration
	// tolerable is how many checkpoints in a row may fail, whatever the seed says; nil for what it says.
	tolerable *int
}

// version is one revision of the job.
type version struct {
	number int
	grant  int64
	config contract.JobConfig
	plan   *graph.Plan
	// line is the lineage it belongs to.
	line *lineage
	// leads is the newest incarnation of its coordinator; gone says that there will be no other.
	leads *coordinator
	gone  bool
	// limited says that the restart strategy may give up or might have, patient that it must not.
	limited, patient bool
	scenario         *scenario
	// target is the snapshot that it goes back to; none if its id is 0.
	target target
}

// newScenario makes a small job.
func newScenario(r *rand.Rand) *scenario {
	s := &scenario{
		groups: []int{4, 8, 16, 128}[r.IntN(4)], maxParallelism: 1 + r.IntN(4),
		rowsPerKey: 5 + r.Int64N(50), ordered: r.IntN(3) > 0, atLeastOnce: r.IntN(12) == 0,
		endless: r.IntN(6) == 0, rare: r.IntN(5) == 0, incremental: r.IntN(2) == 0,
	}
	s.endless = s.endless || s.rare && r.IntN(2) == 0
	switch r.IntN(12) {
	case 0:
		s.deletes = true
	case 1:
		s.volatile = true
	case 2, 3:
		s.rots, s.plain, s.keeps = contract.FallBackOnCorruption, r.IntN(3) > 0, true
		if r.IntN(4) == 0 {
			s.rots = contract.FailOnCorruption
		}
	case 4:
		s.rewinds, s.plain, s.keeps = true, r.IntN(3) > 0, r.IntN(2) == 0
	}
	switch r.IntN(5) {
	case 0:
		s.alignment.Mode = contract.Unaligned
	case 1:
		s.alignment.Mode = contract.AlignedThenUnaligned
		s.alignment.Timeout = contract.Duration(time.Duration(1+r.IntN(60)) * time.Millisecond)
	}
	s.addNodes(r)
	return s
}

// version makes the next revision of the job.
// With patience its restarts have no limit; with split every operator is a task of its own.
func (s *scenario) version(r *rand.Rand, number int, patience, split bool, out *outside) (*version, error) {
	p := 1 + r.IntN(s.maxParallelism)
	v := &version{number: number, grant: int64(number), scenario: s}
	v.config = contract.JobConfig{
		Namespace: "default", Name: "sim", JobID: "j", Parallelism: p, MaxParallelism: s.groups, DisableChaining: r.IntN(3) == 0 || split,
		Restart: contract.Restart{FixedDelay: &contract.FixedDelay{Delay: contract.Duration(time.Duration(1+r.IntN(300)) * time.Millisecond)}},
		Storage: &contract.Storage{Volume: &contract.Volume{Path: "sim"}},
	}
	if s.volatile {
		v.config.Storage = nil
	}
	v.config.StateBackend = &contract.StateBackend{Incremental: s.incremental}
	v.config.Checkpointing = s.checkpointing(r)
	v.patient = patience
	v.restarts(r, patience)
	var err error
	v.plan, err = graph.NewPlan(s.graph(p, out), graph.Options{Parallelism: p, MaxParallelism: s.groups, DisableChaining: v.config.DisableChaining})
	return v, err
}

// checkpointing picks the settings of checkpoints.
func (s *scenario) checkpointing(r *rand.Rand) *contract.Checkpointing {
	c := &contract.Checkpointing{
		Interval: contract.Duration(time.Duration(50+r.IntN(400)) * time.Millisecond), Timeout: contract.Duration(time.Duration(500+r.IntN(3000)) * time.Millisecond),
		TolerableFailures: r.IntN(4), DeleteOnCancel: s.deletes, OnCorruption: s.rots, RetentionCount: 1 + r.IntN(4), MaxConcurrent: 1, Mode: contract.ExactlyOnce,
	}
	if r.IntN(4) == 0 {
		c.MaxConcurrent = 2 + r.IntN(2)
	} else if r.IntN(4) == 0 {
		c.MinPause = contract.Duration(time.Duration(1+r.IntN(300)) * time.Millisecond)
	}
	if s.atLeastOnce {
		c.Mode = contract.AtLeastOnce
	}
	if s.crowded {
		c.Interval /= 8
		c.MaxConcurrent, c.MinPause, c.TolerableFailures = 4, 0, 20
	}
	if s.alignment.Mode != "" && !s.atLeastOnce {
		c.Alignment, c.MaxConcurrent = &s.alignment, 1
		c.Timeout = max(c.Timeout, contract.Duration(2*time.Second)) // steps may be slow then
	}
	if s.rots != "" {
		c.RetentionCount = max(c.RetentionCount, 2)
	}
	if s.rare {
		// With time enough to succeed: there are only a few of them before the run has to end.
		c.Interval, c.MinPause = contract.Duration(rareInterval/2+time.Duration(r.IntN(15))*time.Second), 0
		c.Timeout = max(c.Timeout, contract.Duration(4*time.Second))
	}
	if s.timeout > 0 {
		c.Timeout = contract.Duration(s.timeout)
	}
	if s.tolerable != nil {
		c.TolerableFailures = *s.tolerable
	}
	return c
}

// changePolicy picks anew what may change while the job runs.
func (v *version) changePolicy(r *rand.Rand) {
	v.config.Checkpointing = v.scenario.checkpointing(r)
	v.restarts(r, v.patient)
}

// restarts picks a restart strategy. One that gives up is followed by another version of the job.
func (v *version) restarts(r *rand.Rand, patience bool) {
	ms := func(n int) contract.Duration { return contract.Duration(time.Duration(1+r.IntN(n)) * time.Millisecond) }
	switch r.IntN(6) {
	case 0, 1:
		v.config.Restart = contract.Restart{ExponentialDelay: &contract.ExponentialDelay{InitialDelay: ms(20), MaxDelay: ms(1000) + contract.Duration(20*time.Millisecond)}}
	case 2:
		if !patience {
			v.config.Restart = contract.Restart{FixedDelay: &contract.FixedDelay{Attempts: new(r.IntN(4)), Delay: ms(300)}}
			v.limited = true
		}
	case 3:
		if !patience {
			v.config.Restart = contract.Restart{FailureRate: &contract.FailureRate{MaxFailures: 1 + r.IntN(3), Interval: ms(5000), Delay: ms(300)}}
			v.limited = true
		}
	}
}

// graph builds the logical graph.
func (s *scenario) graph(parallelism int, out *outside) *graph.Graph {
	g := &graph.Graph{}
	for _, n := range s.nodes {
		x := &graph.Node{Name: n.name, NoChain: n.noChain, Signature: n.name}
		if n.own > 0 {
			x.Parallelism = max(1, min(parallelism*n.own/4, s.groups))
		}
		for _, in := range n.inputs {
			e := graph.Edge{From: in.from, Partition: in.partition, Input: in.index}
			if in.partition == graph.Hash {
				e.NewHasher = func() record.Hasher { return keyHasher{} }
			}
			x.Inputs = append(x.Inputs, e)
		}
		s.fill(x, n, out)
		g.Nodes = append(g.Nodes, x)
	}
	return g
}

func (s *scenario) fill(x *graph.Node, n *node, out *outside) {
	switch n.kind {
	case sourceNode:
		x.NewSource = func() operator.Source { return &source{out: out, spec: n.source} }
		x.Output, x.Bounded = rowType{}, !n.source.endless
	case shiftNode:
		x.NewOperator = func() operator.Operator {
			if n.hold {
				return &hold{offset: n.offsets[0], keep: n.keep}
			}
			return &shift{offsets: n.offsets, single: n.single}
		}
		x.Output = rowType{}
	case fanNode:
		x.NewOperator = func() operator.Operator { return &fan{out: out, ordered: s.ordered} }
		x.Output = rowType{}
	case delayNode:
		x.NewOperator = func() operator.Operator { return &delay{d: n.delay} }
		x.Output, x.Keyed = rowType{}, true
	case counterNode:
		x.NewOperator = func() operator.Operator { return &counter{out: out, ordered: s.ordered} }
		x.Output, x.Keyed = rowType{}, true
	case sinkNode:
		if s.plain {
			x.NewOperator = func() operator.Operator { return &plainSink{out: out} }
			return
		}
		x.NewOperator = func() operator.Operator { return &sink{out: out, union: n.union} }
		x.Transactional = true
	}
}

// hidesCommits says that the coordinator doesn't know that sinks commit, which mutations do to it.
func (v *version) hidesCommits() bool {
	return v.line != nil && (v.line.w.mutation == FallBackOverCommits || v.line.w.mutation == RewindOverCommits && v.scenario.rots == "")
}

// hidesTrims says that the coordinator doesn't know that sources give up input: they don't, or a mutation hides it.
func (v *version) hidesTrims() bool {
	return v.scenario.keeps || v.line != nil && v.line.w.mutation == RewindOverTrims
}

// jobPlan is what the life of the job has to know of the plan.
func (v *version) jobPlan() job.Plan {
	p := job.Plan{Slots: v.plan.Slots, MaxParallelism: v.plan.MaxParallelism, Fingerprint: v.plan.Fingerprint}
	bounded := map[string]bool{}
	for _, x := range v.plan.Vertices {
		jv := job.Vertex{Name: x.Name, Parallelism: x.Parallelism, Bounded: !x.Source() || x.Nodes[0].Bounded}
		for _, n := range x.Nodes {
			jv.Operators = append(jv.Operators, n.Name)
			jv.Trims = jv.Trims || n.NewSource != nil && !v.hidesTrims()
			jv.Transactional = jv.Transactional || n.Transactional && !v.hidesCommits()
		}
		for _, e := range x.Inputs {
			jv.Inputs = append(jv.Inputs, job.Input{Vertex: e.From.Name, Forward: e.Partition == graph.Forward})
			jv.Bounded = jv.Bounded && bounded[e.From.Name]
		}
		bounded[x.Name] = jv.Bounded
		p.Vertices = append(p.Vertices, jv)
	}
	return p
}
