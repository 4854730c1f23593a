// SPDX-License-Identifier: Apache-2.0

package coordinator

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/weir-stream/weir/runtime/contract"
	"github.com/weir-stream/weir/runtime/snapshot"
	"github.com/weir-stream/weir/runtime/snapshot/assign"
)

// agentRetry is waited before an agent tries again to claim a head that somebody else wrote at the same time.
const agentRetry = 100 * time.Millisecond

// Check finds out whether a job could start: its graph can be built, its storage be read, and its newest state, or for a job without any the
// snapshot to restore from, be taken by the graph. With RewindTo that is the snapshot to go back to, and going back must be safe. It writes nothing and claims nothing. The error says why the job could not start;
// Job, Build, Store and Location of the options count.
func Check(ctx context.Context, o Options) (contract.AgentResult, error) {
	r := contract.AgentResult{Task: contract.AgentCheck}
	c, err := New(o)
	if err != nil {
		return r, err
	}
	c.o.Operated = true
	p := &prepared{cfg: c.o.Job}
	if p.cfg.Parallelism == 0 {
		p.cfg.Parallelism = 1
	}
	p.grant = max(c.o.Grant, 1)
	if p.found, err = FindJob(ctx, c.o.Store, p.cfg); err != nil {
		return r, err
	}
	if p.found == nil && p.cfg.JobID != "" && p.cfg.JobID != p.cfg.NewJobID {
		return r, &GoneError{JobID: p.cfg.JobID, Location: c.o.Location}
	}
	if p.found != nil {
		r.JobID, r.HeadGrant, r.HeadFinal = p.found.JobID, p.found.Head.Epoch.Grant, headFinal(&p.found.Head)
		p.grant = max(p.grant, r.HeadGrant+1) // that of the coordinator that would start
	}
	for _, step := range []func() error{
		func() error { return c.relocate(&p.cfg) },
		func() error { return c.tellRewind(&r, p) },
		func() error { return c.adopt(ctx, p) },
		func() error { return c.layOut(p) },
		func() error { return c.takes(p) },
	} {
		if err := step(); err != nil {
			return r, err
		}
	}
	if p.from != nil {
		if r.Rewind == nil {
			r.Newest = c.describeNewest(p.from.Newest, p.from.manifest)
		}
		r.Warnings = leftOutWarnings(p.from.leftOut)
		r.Warnings = append(r.Warnings, assign.Warnings(p.shape, p.from.manifest, assign.Options{AllowNonRestoredState: p.cfg.AllowNonRestoredState})...)
	}
	for _, look := range []func(context.Context, *prepared) ([]string, error){c.checkOwner, c.checkSchemas} {
		warnings, err := look(ctx, p)
		r.Warnings = append(r.Warnings, warnings...)
		if err != nil {
			return r, err
		}
	}
	r.OK = true
	return r, nil
}

func (c *Coordinator) describeNewest(n snapshot.Newest, m *snapshot.Manifest) *contract.SnapshotInfo {
	return &contract.SnapshotInfo{ID: m.Checkpoint, Kind: kindName(m.Kind), Path: located(n.Path, c.o.Location), SizeBytes: m.StateSize()}
}

// Fence claims the head of a job with a grant, so that no coordinator of a lower one can take part any more, and reads what has happened:
// the newest state, and the outcome of operations. A stop whose savepoint is complete counts as what the next coordinator
// makes of it: the job goes on from that savepoint. With RewindTo it tells, too, whether the job could go back to that. The same grant again gives the same answer. A job without a head has nothing to fence.
func Fence(ctx context.Context, o Options, operations []string) (contract.AgentResult, error) {
	r := contract.AgentResult{Task: contract.AgentFence}
	c, err := New(o)
	if err != nil {
		return r, err
	}
	h, found, err := c.claimForAgent(ctx, func(*snapshot.Head) {})
	if err != nil {
		return r, err
	}
	r.OK = true
	if !found {
		r.Warnings = append(r.Warnings, "storage has no state of the job")
		return r, nil
	}
	c.tell(&r, &h)
	if to, ok := Relative(c.o.Job.RewindTo, c.o.Location); ok && to != "" {
		if back, err := h.Rewind(to); err == nil {
			r.Rewind = c.describeRewind(&h, &back)
		}
	}
	for _, id := range operations {
		if op, ok := h.Operation(id); ok {
			r.Operations = append(r.Operations, c.describeOperation(op))
		}
	}
	return r, nil
}

// Dispose claims the head of a job with a grant and deletes the job's checkpoints, as cancelling it with retention Delete does, and the snapshot that it
// claimed when it first started. Other savepoints stay. The head stays too and says that the job was cancelled and has no state. It can be repeated until nothing is left.
func Dispose(ctx context.Context, o Options) (contract.AgentResult, error) {
	r := contract.AgentResult{Task: contract.AgentDispose}
	c, err := New(o)
	if err != nil {
		return r, err
	}
	// The head stops naming the checkpoints before they go: nothing may be named that isn't there.
	h, found, err := c.claimForAgent(ctx, func(h *snapshot.Head) {
		h.LeaveBehind(h.Checkpoints)
		h.Checkpoints, h.NamedState = nil, false
		h.DropOrigin()
		h.Final = &snapshot.Final{State: snapshot.FinalCanceled, At: time.Now()}
	})
	if err != nil {
		return r, err
	}
	if !found {
		r.OK = true
		r.Warnings = append(r.Warnings, "storage has no state of the job")
		return r, nil
	}
	for _, below := range []string{"checkpoints/", "shared/"} {
		dir := jobsDir(c.o.Job) + h.JobID + "/"
		n, err := deleteObjects(ctx, c.o.Store, deletion{dir: dir, prefix: dir + below})
		r.Deleted += n
		if err != nil {
			return r, fmt.Errorf("deleting the checkpoints in %s: %w", located(dir+below, c.o.Location), err)
		}
	}
	if o := h.Origin; o != nil && o.Claim == snapshot.Released {
		n, err := deleteOwned(ctx, c.o.Store, snapshot.Directory(o.Path), h.JobID)
		r.Deleted += int64(n)
		if err != nil {
			return r, err
		}
	}
	c.tell(&r, &h)
	r.OK = true
	return r, nil
}

// claimForAgent claims the head with the grant of the options and changes it; false when there is none.
func (c *Coordinator) claimForAgent(ctx context.Context, change func(*snapshot.Head)) (snapshot.Head, bool, error) {
	cfg := c.o.Job
	if cfg.JobID == "" {
		cfg.JobID = cfg.NewJobID
	}
	if cfg.JobID == "" {
		return snapshot.Head{}, false, errors.New("claiming the head: the configuration names no job id")
	}
	dir, owner := jobsDir(cfg)+cfg.JobID+"/", newJobID()
	for {
		h, v, found, err := readHead(ctx, c.o.Store, dir)
		if err != nil || !found {
			return h, found, err
		}
		next, err := snapshot.Claim(h, true, c.o.Grant, owner, cfg.JobID)
		if err != nil {
			return h, true, err
		}
		change(&next)
		next.Remember(&h)
		_, outcome, err := trySwap(ctx, c.o.Store, dir, v, next)
		switch outcome {
		case snapshot.Swapped:
			return next, true, nil
		case snapshot.Fenced:
			return h, true, fmt.Errorf("claiming the head: %w", errors.Join(snapshot.ErrFenced, err))
		default: // somebody else wrote it, or it isn't known what became of it
		}
		if !pause(ctx, agentRetry) {
			return h, true, fmt.Errorf("claiming the head: %w", errors.Join(err, context.Cause(ctx)))
		}
	}
}

// pause waits; false when ctx ended first.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// tell says what a head holds.
func (c *Coordinator) tell(r *contract.AgentResult, h *snapshot.Head) {
	r.JobID, r.HeadGrant, r.HeadFinal = h.JobID, h.Epoch.Grant, headFinal(h)
	if n, ok := h.Newest(); ok {
		r.Newest = c.describeSnapshot(h, n)
	}
}

// describeSnapshot describes a snapshot that a head names.
func (c *Coordinator) describeSnapshot(h *snapshot.Head, n snapshot.Newest) *contract.SnapshotInfo {
	info := &contract.SnapshotInfo{ID: n.ID, Kind: "Checkpoint", Path: located(n.Path, c.o.Location)}
	for _, checkpoint := range h.Checkpoints {
		if checkpoint.ID == n.ID {
			info.CompletedAt, info.SizeBytes = checkpoint.CompletedAt, checkpoint.Size
			return info
		}
	}
	info.Kind = "Savepoint"
	for _, op := range h.Operations {
		if op.Checkpoint == n.ID {
			info.CompletedAt, info.SizeBytes = op.At, op.Size
		}
	}
	return info
}

// describeOperation says what became of an operation: one that was under way when its coordinator was shut out did not come to an end.
func (c *Coordinator) describeOperation(op snapshot.Operation) contract.Operation {
	out := contract.Operation{
		ID: op.ID, Type: contract.OperationType(op.Type), Phase: contract.OperationSucceeded,
		Checkpoint: op.Checkpoint, Error: op.Error, EndedAt: op.At,
	}
	if op.Path != "" {
		out.Path = located(op.Path, c.o.Location)
	}
	if op.Outcome != snapshot.OutcomeDone && op.Outcome != snapshot.OutcomeStopping {
		out.Phase = contract.OperationFailed
	}
	return out
}

func headFinal(h *snapshot.Head) string {
	if h.Final == nil {
		return ""
	}
	return string(h.Final.State)
}
