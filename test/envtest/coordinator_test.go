// SPDX-License-Identifier: Apache-2.0

package envtest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/weir-stream/weir/controllers/streamjob/engine"
	"github.com/weir-stream/weir/runtime/contract"
)

// coordinator plays the coordinator process of one pod: what it answers is what runtime/coordinator would, as far as the operator
// can tell. It is guarded by the lock of its storage.
type coordinator struct {
	storage *storage
	config  contract.JobConfig
	grant   int64
	needed  int
	// standby coordinators claim nothing until they are activated.
	standby bool

	startedAt    time.Time
	state        contract.JobState
	problem      *contract.Problem
	line         *lineage
	n            int64
	restored     *contract.SnapshotInfo
	operations   []contract.Operation
	policy       string
	failure      *contract.Failure
	restarts     int64
	checkpointed bool
	// frozen coordinators do not answer.
	frozen bool
}

// connection is what the operator has of a coordinator.
type connection struct {
	storage *storage
	addr    string
}

var _ engine.API = connection{}

// enter finds the process behind the connection and lets it go on. It returns with the lock held unless it fails.
func (c connection) enter(ctx context.Context) (*coordinator, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	c.storage.mu.Lock()
	p := c.storage.coordinators[c.addr]
	if p == nil || p.frozen || c.storage.script.silent {
		c.storage.mu.Unlock()
		return nil, fmt.Errorf("dial %s: connection refused", c.addr)
	}
	p.goOn()
	return p, nil
}

// goOn does what the coordinator would have done by now.
func (p *coordinator) goOn() {
	p.problem = nil
	switch {
	case p.standby:
		p.state = contract.JobStandby
		return
	case p.storage.script.problem != nil && p.line == nil:
		p.state, p.problem = contract.JobStarting, p.storage.script.problem
		return
	case p.line == nil:
		p.claim()
	case p.line.grant > p.grant && !p.state.Ended():
		p.state = contract.JobSuspended
	}
	if p.state == contract.JobSuspended {
		p.problem = &contract.Problem{Reason: contract.Fenced, Message: "a coordinator with a higher grant owns the job", JobID: p.line.id, HeadGrant: p.line.grant}
		return
	}
	p.settle()
	if p.state == contract.JobWaiting && p.offered() >= p.needed {
		p.state = contract.JobRunning
	} else if p.state == contract.JobRunning && p.offered() < p.needed {
		p.state = contract.JobWaiting
		p.restarts++
	}
	if p.state == contract.JobRunning && p.config.Checkpointing != nil && (!p.checkpointed || p.storage.script.busy) {
		p.line.snapshot("Checkpoint", "")
		p.checkpointed = true
	}
}

func (p *coordinator) offered() int {
	return p.storage.slots[fmt.Sprintf("%s/%d", p.config.Name, p.grant)]
}

// claim takes the head of the job as runtime/coordinator does.
func (p *coordinator) claim() {
	p.state = contract.JobStarting
	l := p.storage.lineages[p.config.Name]
	if p.config.Storage == nil {
		l = nil
	}
	if p.config.JobID != "" && p.config.JobID == p.config.NewJobID && l != nil && l.id != p.config.JobID {
		l = nil // it begins beside what is there
	}
	switch {
	case p.config.JobID != "" && p.config.JobID != p.config.NewJobID && (l == nil || l.id != p.config.JobID):
		p.problem = &contract.Problem{Reason: contract.RestoreNotFound, Message: "the state of job " + p.config.JobID + " is gone"}
		return
	case p.config.JobID == "" && l != nil && l.id != p.config.NewJobID:
		p.problem = &contract.Problem{
			Reason: contract.RetainedState, Message: "storage holds the state of job " + l.id,
			JobID: l.id, HeadGrant: l.grant, HeadFinal: l.final,
		}
		return
	case l != nil && l.grant > p.grant:
		p.problem = &contract.Problem{Reason: contract.Fenced, Message: "a coordinator with a higher grant owns the job", JobID: l.id, HeadGrant: l.grant}
		return
	case l == nil:
		l = &lineage{id: p.config.NewJobID}
		p.storage.made = append(p.storage.made, l.id)
		if p.config.Storage != nil {
			p.storage.lineages[p.config.Name] = l
		}
		if p.config.RestoreFrom != "" {
			p.restored = &contract.SnapshotInfo{ID: 99, Kind: "Savepoint", Path: p.config.RestoreFrom}
		}
	case p.storage.script.refuse != nil && p.storage.script.refuse(p.config) != nil:
		p.problem = p.storage.script.refuse(p.config)
		return
	default:
		p.restored = l.newest
	}
	l.grant = p.grant
	l.claims++
	p.line, p.n, p.state = l, l.claims, contract.JobWaiting
	if l.final == "Finished" {
		p.state = contract.JobFinished
		return
	}
	l.final = ""
}

// settle brings the operations that are under way to their ends.
func (p *coordinator) settle() {
	for i := range p.operations {
		o := &p.operations[i]
		if o.Phase != contract.OperationRunning || p.storage.script.slow {
			continue
		}
		o.EndedAt = time.Now()
		if o.Type == contract.CheckpointOperation {
			info := p.line.snapshot("Checkpoint", "")
			o.Phase, o.Checkpoint, o.Path = contract.OperationSucceeded, info.ID, info.Path
			continue
		}
		withSavepoint := o.Type != contract.CancelOperation || o.Path != ""
		o.Path = ""
		if withSavepoint && p.storage.script.savepoint != "" {
			o.Phase, o.Error = contract.OperationFailed, p.storage.script.savepoint
			continue
		}
		o.Phase = contract.OperationSucceeded
		if withSavepoint {
			info := p.line.snapshot("Savepoint", o.ID)
			o.Checkpoint, o.Path = info.ID, info.Path
		}
		switch o.Type {
		case contract.StopOperation:
			p.state, p.line.final = contract.JobStopped, "Suspended"
		case contract.CancelOperation:
			p.state, p.line.final = contract.JobCancelled, "Canceled"
			if c := p.config.Checkpointing; c != nil && c.DeleteOnCancel {
				p.line.checkpoints = nil
			}
		default:
		}
		p.line.operations = append(p.line.operations, *o)
	}
}

// Job answers GET /v1/job.
func (c connection) Job(ctx context.Context) (*contract.JobStatus, error) {
	p, err := c.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer c.storage.mu.Unlock()
	s := &contract.JobStatus{
		Namespace: p.config.Namespace, Name: p.config.Name, State: p.state, Message: p.storage.script.message, Problem: p.problem,
		Restarts: p.restarts, StartedAt: p.startedAt, LastFailure: p.failure, RestoredFrom: p.restored,
		Parallelism: p.needed, MaxParallelism: 128, SlotsNeeded: p.needed, SlotsOffered: p.offered(),
		PolicyRevision: p.policy, Durable: p.config.Storage != nil, Operations: slices.Clone(p.operations), MeasuredAt: time.Now(),
	}
	if p.standby {
		s.Standby = &contract.StandbyReport{Ready: p.offered() >= p.needed}
	}
	if p.line == nil {
		return s, nil
	}
	s.JobID, s.Epoch = p.line.id, contract.Epoch{Grant: p.grant, N: p.n}
	for i := range p.line.retired {
		if info := &p.line.retired[i]; info.Kind == "Savepoint" {
			s.LastSavepoint = new(*info)
		} else {
			s.LastCheckpoint = new(*info)
		}
	}
	return s, nil
}

// Checkpoints answers GET /v1/checkpoints.
func (c connection) Checkpoints(ctx context.Context) (*contract.CheckpointsReport, error) {
	p, err := c.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer c.storage.mu.Unlock()
	r := &contract.CheckpointsReport{}
	if p.line != nil {
		for _, info := range slices.Backward(p.line.retired) {
			r.Recent = append(r.Recent, contract.CheckpointReport{SnapshotInfo: info, State: "Completed"})
		}
	}
	return r, nil
}

// operate begins an operation, or finds the one of its id.
func (c connection) operate(ctx context.Context, o contract.Operation) (*contract.Operation, error) {
	p, err := c.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer c.storage.mu.Unlock()
	for i := range p.operations {
		if p.operations[i].ID == o.ID {
			return new(p.operations[i]), nil
		}
	}
	if p.problem != nil || p.line == nil {
		return nil, &contract.APIError{Status: 503, Message: "the job has not started"}
	}
	if p.state != contract.JobRunning && (o.Type != contract.CancelOperation || p.state.Ended()) {
		return nil, &contract.APIError{Status: 409, Message: fmt.Sprintf("the job is %s", p.state)}
	}
	c.storage.record(fmt.Sprintf("%s %s/%d %s", o.Type, p.config.Name, p.grant, o.ID))
	o.Phase, o.StartedAt = contract.OperationRunning, time.Now()
	p.operations = append(p.operations, o)
	return &o, nil
}

// Stop answers POST /v1/stop.
func (c connection) Stop(ctx context.Context, r contract.StopRequest) (*contract.Operation, error) {
	return c.operate(ctx, contract.Operation{ID: r.OperationID, Type: contract.StopOperation})
}

// Savepoint answers POST /v1/savepoints.
func (c connection) Savepoint(ctx context.Context, r contract.SavepointRequest) (*contract.Operation, error) {
	return c.operate(ctx, contract.Operation{ID: r.OperationID, Type: contract.SavepointOperation})
}

// Checkpoint answers POST /v1/checkpoints.
func (c connection) Checkpoint(ctx context.Context, r contract.CheckpointRequest) (*contract.Operation, error) {
	return c.operate(ctx, contract.Operation{ID: r.OperationID, Type: contract.CheckpointOperation})
}

// Cancel answers POST /v1/cancel.
func (c connection) Cancel(ctx context.Context, r contract.CancelRequest) (*contract.Operation, error) {
	o := contract.Operation{ID: r.OperationID, Type: contract.CancelOperation}
	if r.Savepoint {
		o.Path = "to be taken"
	}
	return c.operate(ctx, o)
}

// SetPolicy answers PUT /v1/policy.
func (c connection) SetPolicy(ctx context.Context, policy contract.Policy) (*contract.Policy, error) {
	p, err := c.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer c.storage.mu.Unlock()
	if policy.Revision == "" {
		return nil, errors.New("a policy without a revision")
	}
	c.storage.record(fmt.Sprintf("Policy %s/%d %s", p.config.Name, p.grant, policy.Revision))
	p.policy = policy.Revision
	p.config.Checkpointing, p.config.Restart = policy.Checkpointing, policy.Restart
	return &policy, nil
}

// Close does nothing.
func (c connection) Close() {}

// Activate answers POST /v1/activate.
func (c connection) Activate(ctx context.Context, r contract.ActivateRequest) (*contract.Activation, error) {
	p, err := c.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer c.storage.mu.Unlock()
	if r.Grant != 0 && r.Grant != p.grant {
		return nil, &contract.APIError{Status: 409, Message: fmt.Sprintf("the coordinator has grant %d", p.grant)}
	}
	if p.standby {
		c.storage.record(fmt.Sprintf("Activate %s/%d", p.config.Name, p.grant))
		p.standby = false
		p.goOn()
	}
	return &contract.Activation{Grant: p.grant}, nil
}
