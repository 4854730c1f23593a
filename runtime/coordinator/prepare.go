// SPDX-License-Identifier: Apache-2.0

package coordinator

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/big"
	mrand "math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/weir-stream/weir/runtime/checkpoint"
	"github.com/weir-stream/weir/runtime/contract"
	"github.com/weir-stream/weir/runtime/graph"
	"github.com/weir-stream/weir/runtime/job"
	"github.com/weir-stream/weir/runtime/protocol"
	"github.com/weir-stream/weir/runtime/snapshot"
	"github.com/weir-stream/weir/runtime/snapshot/assign"
)

// prepared is what is known of the job before its life begins.
type prepared struct {
	// cfg is the configuration with what was found out filled in, dir the job's directory in storage, ending in "/".
	cfg         contract.JobConfig
	dir         string
	grant       int64
	plan        job.Plan
	graph       *graph.Plan
	shape       assign.Shape
	parallelism int
	// found is what storage holds of the job, nil for nothing; from the state to start from, nil for none.
	found *Found
	from  *startingState
	// tasks are the tasks with the state that they are to take, once that was found to fit.
	tasks map[protocol.TaskID]protocol.TaskDeployment
}

// startingState is a snapshot that a job starts from.
type startingState struct {
	snapshot.Newest
	manifest *snapshot.Manifest
	// leftOut are newer ones that are damaged.
	leftOut []snapshot.LeftOut
	// err says why there is no manifest.
	err error
}

// prepareLoop probes the storage, finds the job in it, builds the graph and makes the machine.
func (c *Coordinator) prepareLoop(ctx context.Context) (*loop, error) {
	p, err := c.prepare(ctx)
	if err != nil {
		return nil, err
	}
	machine, err := c.newMachine(p)
	if err != nil {
		return nil, err
	}
	l := c.newLoop(p)
	l.machine = machine
	return l, nil
}

// newLoop returns a loop without a machine.
func (c *Coordinator) newLoop(p *prepared) *loop {
	return &loop{
		c: c, o: &c.o, log: c.o.Log.WithValues("job", p.cfg.Namespace+"/"+p.cfg.Name, "jobID", p.cfg.JobID),
		prepared: p, workers: map[string]*conn{}, conns: map[*conn]bool{}, draining: map[string]*conn{}, ops: newOperations(),
		manifests: make(chan struct{}, maxStorageCalls), deletions: make(chan struct{}, maxStorageCalls), startedAt: time.Now(),
		tracer: newTracer(c.o.Traces, &p.cfg),
		replay: newReplay(p.isSource),
	}
}

// isSource says whether a task reads from outside the job.
func (p *prepared) isSource(t protocol.TaskID) bool {
	return slices.ContainsFunc(p.plan.Vertices, func(v checkpoint.Vertex) bool { return v.Name == t.Vertex && len(v.Inputs) == 0 })
}

func (c *Coordinator) prepare(ctx context.Context) (*prepared, error) {
	cfg := c.o.Job
	if cfg.Parallelism == 0 {
		cfg.Parallelism = 1
	}
	p := &prepared{cfg: cfg}
	if err := c.findJob(ctx, p); err != nil {
		return nil, err
	}
	// Storage that holds a head of this job passed when that was created, and answers sooner without being asked again.
	if c.o.Durable && p.found == nil {
		if err := c.probe(ctx); err != nil {
			return nil, err
		}
	}
	if err := c.relocate(&p.cfg); err != nil {
		return nil, err
	}
	if err := c.adopt(ctx, p); err != nil {
		return nil, err
	}
	if err := c.layOut(p); err != nil {
		return nil, err
	}
	if c.o.Operated && p.starts() {
		// The life-cycle would find the same and end the job for good; here somebody may still put it right.
		return p, c.takesAtStart(ctx, p)
	}
	return p, nil
}

// takesAtStart checks the state that an operated job is to start from. Whether the types of a snapshot from elsewhere fit is checked here too; for state of
// its own, an agent has done so before the version that wrote it was stopped.
func (c *Coordinator) takesAtStart(ctx context.Context, p *prepared) error {
	if err := c.takes(p); err != nil {
		return err
	}
	if p.found != nil {
		if _, own := p.found.Head.Newest(); own {
			return nil
		}
	}
	if _, err := c.checkOwner(ctx, p); err != nil {
		return err
	}
	warnings, err := c.checkSchemas(ctx, p)
	for _, w := range warnings {
		c.o.Log.Info("Checking the snapshot to start from", "warning", w)
	}
	return err
}

// starts says that the job neither ended under this grant nor belongs to a higher one.
func (p *prepared) starts() bool {
	if p.found == nil {
		return true
	}
	h := &p.found.Head
	return p.grant > h.Epoch.Grant || (p.grant == h.Epoch.Grant && h.Final == nil)
}

// findJob fills in the job id, the directory and the grant.
func (c *Coordinator) findJob(ctx context.Context, p *prepared) error {
	found, err := c.lookFor(ctx, p.cfg)
	if err != nil {
		return err
	}
	p.grant = c.o.Grant
	if c.o.Operated {
		if err := c.operated(p, found); err != nil {
			return err
		}
	}
	switch {
	case found == nil || (c.o.Fresh && p.cfg.JobID == ""):
		found = nil
		if p.cfg.JobID == "" {
			p.cfg.JobID = newJobID()
		}
		p.grant = max(p.grant, 1)
	default:
		p.cfg.JobID = found.JobID
		if p.grant == 0 {
			p.grant = found.Head.Epoch.Grant
			if found.Head.Final != nil {
				p.grant++
			}
		}
		c.o.Log.Info("Found the job in storage", "jobID", found.JobID, "epochGrant", found.Head.Epoch.Grant, "grant", p.grant)
	}
	p.found = found
	p.dir = jobsDir(p.cfg) + p.cfg.JobID + "/"
	return nil
}

// lookFor finds the job in storage; of several the one that was to be started anew, if it is there.
func (c *Coordinator) lookFor(ctx context.Context, cfg contract.JobConfig) (*Found, error) {
	if c.o.Operated && cfg.JobID == "" && cfg.NewJobID != "" {
		own := cfg
		own.JobID = cfg.NewJobID
		if found, err := FindJob(ctx, c.o.Store, own); found != nil || err != nil {
			return found, err
		}
	}
	return FindJob(ctx, c.o.Store, cfg)
}

// operated checks what storage holds against the ids that were given, and fills in that of a new job.
func (c *Coordinator) operated(p *prepared, found *Found) error {
	cfg := &p.cfg
	switch {
	case found == nil && cfg.JobID != "" && cfg.JobID != cfg.NewJobID && c.o.Durable:
		return &GoneError{JobID: cfg.JobID, Location: c.o.Location}
	case found == nil && cfg.JobID == "":
		cfg.JobID = cfg.NewJobID
	case found != nil && cfg.JobID == "" && found.JobID != cfg.NewJobID:
		return &RetainedError{Found: *found}
	}
	return nil
}

// jobsDir is the directory of all incarnations of a job of that name.
func jobsDir(cfg contract.JobConfig) string { return cfg.Namespace + "/" + cfg.Name + "/" }

// newJobID returns the id of a new job.
func newJobID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

// relocate turns the paths to restore from into ones within the job's storage.
func (c *Coordinator) relocate(cfg *contract.JobConfig) error {
	for _, path := range []*string{&cfg.RestoreFrom, &cfg.RewindTo} {
		if *path == "" {
			continue
		}
		rel, ok := Relative(*path, c.o.Location)
		if !ok {
			return &elsewhereError{path: *path, location: c.o.Location}
		}
		*path = rel
	}
	return nil
}

// Relative returns path relative to the location of a storage; false if it is elsewhere.
func Relative(path, location string) (string, bool) {
	location = strings.TrimSuffix(location, "/") + "/"
	if rest, ok := strings.CutPrefix(path, location); ok {
		return rest, true
	}
	return path, !strings.HasPrefix(path, "/") && !strings.Contains(path, "://")
}

// located is the inverse of [Relative].
func located(path, location string) string {
	if location == "" {
		return path
	}
	return strings.TrimSuffix(location, "/") + "/" + path
}

func (l *loop) located(path string) string { return located(path, l.o.Location) }

// adopt reads the state to start from, and takes the number of key groups from it when the configuration leaves that open: it can't change.
func (c *Coordinator) adopt(ctx context.Context, p *prepared) error {
	if err := p.goBack(); err != nil {
		return err
	}
	from, err := p.startsFrom()
	if err != nil {
		if c.o.Operated && p.starts() {
			return err
		}
		return nil // the machine finds out again and ends the job
	}
	if from.Path == "" || (p.cfg.MaxParallelism != 0 && !c.o.Operated) {
		return nil
	}
	p.from = c.readIntact(ctx, p, from)
	if p.from.err != nil {
		// The machine reads it again and says what is wrong, or falls back.
		c.o.Log.V(1).Info("Leaving maxParallelism at its default", "reason", p.from.err.Error())
		return nil //nolint:nilerr // see above
	}
	if p.cfg.MaxParallelism == 0 {
		p.cfg.MaxParallelism = p.from.manifest.MaxParallelism
	}
	return nil
}

// startsFrom is the state to start from, as the machine chooses it; with an empty path it is an empty start.
func (p *prepared) startsFrom() (snapshot.Newest, error) {
	if p.found == nil {
		return snapshot.Newest{Path: p.cfg.RestoreFrom}, nil
	}
	h := &p.found.Head
	if n, ok := h.Newest(); ok {
		return n, nil
	}
	switch {
	case h.Origin.Usable():
		return snapshot.Newest{Path: h.Origin.Path}, nil
	case h.NamedState:
		return snapshot.Newest{}, &GoneError{JobID: p.found.JobID, Location: "what its head names"}
	default:
		return snapshot.Newest{Path: p.cfg.RestoreFrom}, h.Origin.CheckAgain(p.cfg.RestoreFrom)
	}
}

// takes checks that the graph can take the state to start from.
func (c *Coordinator) takes(p *prepared) error {
	var m *snapshot.Manifest
	if p.from != nil {
		if p.from.err != nil {
			return p.from.err
		}
		m = p.from.manifest
	}
	var err error
	p.tasks, err = assign.Assign(p.shape, m, assign.Options{
		AllowNonRestoredState: p.cfg.AllowNonRestoredState, AllowDrained: p.cfg.AllowDrained || p.goesOn(),
	})
	return err
}

// goesOn says whether the state to start from is the job's own and it didn't come to its end with it.
func (p *prepared) goesOn() bool {
	return p.found != nil && p.from != nil && p.from.ID > 0 && !p.found.Head.StoppedWith(p.from.ID)
}

// layOut builds the graph and plans it.
func (c *Coordinator) layOut(p *prepared) error {
	g, err := c.o.Build(p.cfg)
	if err != nil {
		return &InvalidJobError{Err: fmt.Errorf("building the graph of the job: %w", err)}
	}
	plan, err := graph.NewPlan(g, graph.Options{
		Parallelism: p.cfg.Parallelism, MaxParallelism: p.cfg.MaxParallelism, DisableChaining: p.cfg.DisableChaining,
	})
	if err != nil {
		return &InvalidJobError{Err: err}
	}
	if err := checkTransactions(plan, p.cfg.Checkpointing); err != nil {
		return &InvalidJobError{Err: err}
	}
	p.cfg.MaxParallelism = plan.MaxParallelism
	p.parallelism = plan.Slots
	p.plan, p.graph = machinePlan(plan), plan
	p.shape = assign.ShapeOf(plan)
	return nil
}

// machinePlan is what the life-cycle needs of the plan.
func machinePlan(plan *graph.Plan) job.Plan {
	out := job.Plan{Slots: plan.Slots, MaxParallelism: plan.MaxParallelism, Fingerprint: plan.Fingerprint}
	bounded := map[string]bool{}
	for _, v := range plan.Vertices {
		jv := job.Vertex{Name: v.Name, Parallelism: v.Parallelism, Bounded: v.Source() && v.Nodes[0].Bounded}
		for _, n := range v.Nodes {
			jv.Operators = append(jv.Operators, n.Name)
			jv.Transactional, jv.Trims = jv.Transactional || n.Transactional, jv.Trims || n.Trims
			if d := n.TransactionTimeout; n.Transactional && d > 0 && (out.TransactionTimeout == 0 || d < out.TransactionTimeout) {
				out.TransactionTimeout = d
			}
		}
		if !v.Source() {
			jv.Bounded = true
		}
		for _, e := range v.Inputs {
			jv.Inputs = append(jv.Inputs, job.Input{Vertex: e.From.Name, Forward: e.Partition == graph.Forward})
			jv.Bounded = jv.Bounded && bounded[e.From.Name]
		}
		bounded[v.Name] = jv.Bounded
		out.Vertices = append(out.Vertices, jv)
	}
	return out
}

func (c *Coordinator) newMachine(p *prepared) (*job.Machine, error) {
	raw, err := json.Marshal(p.cfg)
	if err != nil {
		return nil, fmt.Errorf("encoding the configuration of the job: %w", err)
	}
	opts := assign.Options{AllowNonRestoredState: p.cfg.AllowNonRestoredState, AllowDrained: p.cfg.AllowDrained}
	firstN := int64(1)
	if !c.o.Durable {
		firstN = time.Now().UnixMilli()
	}
	return job.New(job.Options{
		Config: p.cfg,
		Plan:   p.plan,
		Restore: func(m *snapshot.Manifest, _ string) (map[protocol.TaskID]protocol.TaskDeployment, error) {
			return assign.Assign(p.shape, m, opts)
		},
		Grant: p.grant,
		Owner: newJobID(), FirstN: firstN,
		Dir:   p.dir,
		Hello: c.hello(p, raw),
		Rand:  newRand(),
	})
}

// hello is what workers are told of the job, but for the epoch.
func (c *Coordinator) hello(p *prepared, raw []byte) protocol.Registered {
	return protocol.Registered{
		Job: raw, Fingerprint: p.plan.Fingerprint, HeartbeatInterval: c.o.HeartbeatInterval, HeartbeatTimeout: c.o.HeartbeatTimeout,
	}
}

// newRand returns a source of random delays.
func newRand() *mrand.Rand {
	seed := uint64(time.Now().UnixNano())
	if n, err := rand.Int(rand.Reader, new(big.Int).SetUint64(1<<63)); err == nil {
		seed ^= n.Uint64()
	}
	return mrand.New(mrand.NewPCG(seed, seed>>1))
}
