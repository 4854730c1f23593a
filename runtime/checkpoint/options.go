// SPDX-License-Identifier: Apache-2.0

package checkpoint

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/weir-stream/weir/runtime/snapshot"
)

// Input is an input of a vertex.
type Input struct {
	// Vertex is the name of the producing vertex.
	Vertex string
	// Forward says that subtask i reads from subtask i alone; else every subtask reads from every one.
	Forward bool
}

// Vertex is what the coordinator has to know of a vertex (a chain of operators) of the physical graph.
type Vertex struct {
	// Name of the vertex, see [protocol.TaskID].
	Name string
	// Parallelism is the number of its subtasks.
	Parallelism int
	// Operators are the names of the chain, head first.
	Operators []string
	// Inputs is empty exactly for sources.
	Inputs []Input
	// Bounded says that it ends by itself.
	Bounded bool
	// Trims says that it is a source which may give up its input upstream when a snapshot is complete.
	Trims bool
	// Transactional says that an operator of the chain commits to the outside when a snapshot is complete.
	Transactional bool
}

// Options configure a [Coordinator]. Durations of zero mean the default.
type Options struct {
	// JobID and JobName enter the manifests.
	JobID, JobName string
	// MaxParallelism is the number of key groups.
	MaxParallelism int
	// Vertices of the job, in topological order.
	Vertices []Vertex
	// Interval between periodic triggers; 0: none.
	Interval time.Duration
	// Timeout aborts a snapshot that is older. Default 10 min.
	Timeout time.Duration
	// MinPause is kept between the end of a snapshot and the start of the next periodic one.
	MinPause time.Duration
	// MaxConcurrent is how many may be in flight. Default 1.
	MaxConcurrent int
	// TolerableFailures is how many consecutive failures the job survives.
	TolerableFailures int
	// Unaligned lets the barriers of checkpoints overtake, after AlignmentTimeout on each hop. It needs exactly once and a MaxConcurrent
	// of 1; savepoints are aligned all the same.
	Unaligned        bool
	AlignmentTimeout time.Duration
	// Incremental lets checkpoints refer to files of the one completed before.
	Incremental bool
	// Retention is how many completed checkpoints are kept. Default 1.
	Retention int
	// Durable says that there is storage: without, snapshots live in the memory of the coordinator and savepoints are refused.
	Durable bool
	// Dir is the job's directory in storage, ending in "/"; SavepointDir the default target of savepoints, likewise.
	Dir, SavepointDir string
	// CommitGrace is the age, since its trigger, beyond which a snapshot isn't committed any more, because a sweeper
	// may take its files for orphans. Default 24 h.
	CommitGrace time.Duration
	// ResendInterval is between repeats of the notification of a stop. Default 1 s.
	ResendInterval time.Duration
	// ReserveIDs is how many checkpoint ids are reserved at a time. Default 100.
	ReserveIDs int64
	// History is how many ended snapshots are remembered. Default 50.
	History int
	// MaxQueue bounds the queue of requests. Default 64.
	MaxQueue int
	// Rand gives the delay of the first trigger. Mandatory with an interval.
	Rand *rand.Rand
}

// EnsureDefaults fills in what is unset.
func (o *Options) EnsureDefaults() {
	setDefault(&o.Timeout, 10*time.Minute)
	setDefault(&o.MaxConcurrent, 1)
	setDefault(&o.Retention, 1)
	setDefault(&o.CommitGrace, snapshot.CommitGrace)
	setDefault(&o.ResendInterval, time.Second)
	setDefault(&o.ReserveIDs, 100)
	setDefault(&o.History, 50)
	setDefault(&o.MaxQueue, 64)
	if o.Interval > 0 && o.Interval < o.MinPause {
		o.Interval = o.MinPause
	}
	if o.SavepointDir == "" {
		o.SavepointDir = "savepoints/"
	}
	if !strings.HasSuffix(o.SavepointDir, "/") {
		o.SavepointDir += "/"
	}
}

func setDefault[T comparable](p *T, v T) {
	var zero T
	if *p == zero {
		*p = v
	}
}

// Validate says what is wrong with the options, after EnsureDefaults.
func (o *Options) Validate() error {
	var errs []error
	bad := func(cond bool, format string, args ...any) {
		if cond {
			errs = append(errs, fmt.Errorf("checking checkpoint options: "+format, args...))
		}
	}
	bad(o.JobID == "", "the job id is missing")
	bad(len(o.Vertices) == 0, "the job has no vertices")
	bad(o.Interval < 0 || o.Timeout < 0 || o.MinPause < 0, "interval, timeout and minPause must not be negative")
	bad(o.Interval > 0 && o.Rand == nil, "an interval needs a source of random numbers")
	bad(o.MaxConcurrent < 1, "maxConcurrent must be at least 1, got %d", o.MaxConcurrent)
	bad(o.MinPause > 0 && o.MaxConcurrent > 1, "minPause excludes maxConcurrent %d: set one of them", o.MaxConcurrent)
	bad(o.Unaligned && o.MaxConcurrent > 1, "unaligned checkpoints exclude maxConcurrent %d: set one of them", o.MaxConcurrent)
	bad(o.AlignmentTimeout < 0, "the alignment timeout must not be negative")
	bad(o.TolerableFailures < 0, "tolerableFailures must not be negative, got %d", o.TolerableFailures)
	bad(o.Retention < 1 || o.Retention > 1000, "retention count must be within 1 and 1000, got %d", o.Retention)
	bad(o.Dir != "" && !strings.HasSuffix(o.Dir, "/"), "the directory %q must end in \"/\"", o.Dir)
	bad(o.CommitGrace > snapshot.CommitGrace, "the commit grace %v must not exceed %v, which a sweep relies on", o.CommitGrace, snapshot.CommitGrace)
	bad(o.CommitGrace <= o.Timeout, "the commit grace %v must be longer than the timeout %v", o.CommitGrace, o.Timeout)
	seen := map[string]bool{}
	for _, v := range o.Vertices {
		bad(v.Parallelism < 1, "vertex %q has parallelism %d", v.Name, v.Parallelism)
		bad(seen[v.Name], "vertex %q is there twice", v.Name)
		for _, in := range v.Inputs {
			bad(!seen[in.Vertex], "vertex %q reads from %q, which doesn't come before it", v.Name, in.Vertex)
		}
		seen[v.Name] = true
	}
	return errors.Join(errs...)
}
