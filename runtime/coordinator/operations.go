// SPDX-License-Identifier: Apache-2.0

package coordinator

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/weir-stream/weir/runtime/contract"
	"github.com/weir-stream/weir/runtime/snapshot"
)

const (
	// maxOperations bounds the operations that are remembered; those that ended first are forgotten first.
	maxOperations = 256
	// shownOperations is how many of those that have ended a status report shows: more than end between two looks of somebody who waits for one of them.
	shownOperations = 32
)

// operation is one that somebody asked for.
type operation struct {
	contract.Operation
	// done is closed when it ended.
	done chan struct{}
}

// operations are owned by the loop.
type operations struct {
	byID  map[string]*operation
	order []string
}

func newOperations() *operations { return &operations{byID: map[string]*operation{}} }

// start returns the operation of that id; the flag says whether it is new.
func (o *operations) start(s submission, now time.Time) (*operation, bool) {
	if op := o.byID[s.id]; op != nil {
		return op, false
	}
	op := &operation{
		Operation: contract.Operation{ID: s.id, Type: s.typ, Phase: contract.OperationRunning, StartedAt: now},
		done:      make(chan struct{}),
	}
	o.byID[s.id] = op
	o.order = append(o.order, s.id)
	o.trim()
	return op, true
}

func (o *operations) trim() {
	for i := 0; len(o.order) > maxOperations && i < len(o.order); i++ {
		if id := o.order[i]; o.byID[id].Phase.Ended() {
			delete(o.byID, id)
			o.order = slices.Delete(o.order, i, i+1)
			return
		}
	}
}

// end records the outcome of an operation; only the first one counts.
func (o *operations) end(id string, outcome contract.Operation, now time.Time) {
	op := o.byID[id]
	if op == nil || op.Phase.Ended() {
		return
	}
	outcome.ID, outcome.Type, outcome.StartedAt, outcome.EndedAt = op.ID, op.Type, op.StartedAt, now
	op.Operation = outcome
	close(op.done)
}

// endAll ends what hasn't, with an unknown outcome.
func (o *operations) endAll(now time.Time) {
	for _, id := range o.order {
		o.end(id, contract.Operation{Phase: contract.OperationUnknown}, now)
	}
}

// list returns all operations that have not ended, and those that ended last; newest first.
func (o *operations) list() []contract.Operation {
	var out, ended []contract.Operation
	for _, op := range o.byID {
		if op.Phase.Ended() {
			ended = append(ended, op.Operation)
		}
	}
	slices.SortFunc(ended, func(a, b contract.Operation) int { return b.EndedAt.Compare(a.EndedAt) })
	shown := map[string]bool{}
	for i := range ended[:min(len(ended), shownOperations)] {
		shown[ended[i].ID] = true
	}
	for _, id := range slices.Backward(o.order) {
		if op := o.byID[id]; shown[id] || !op.Phase.Ended() {
			out = append(out, op.Operation)
		}
	}
	return out
}

// outcome translates what the machine says of an operation.
func (l *loop) outcome(op snapshot.Operation) contract.Operation {
	out := contract.Operation{
		ID: op.ID, Type: contract.OperationType(op.Type), Checkpoint: op.Checkpoint, SizeBytes: op.Size, Error: op.Error, EndedAt: op.At,
	}
	if op.Path != "" {
		out.Path = l.located(op.Path)
	}
	switch op.Outcome {
	case snapshot.OutcomeDone:
		out.Phase = contract.OperationSucceeded
	case snapshot.OutcomeStopping:
		out.Phase = contract.OperationRunning
	case snapshot.OutcomeUnknown:
		out.Phase = contract.OperationUnknown
	default:
		out.Phase = contract.OperationFailed
		_, recorded := l.inHead(op.ID)
		switch {
		case op.Outcome == snapshot.OutcomeStopFailed:
			out.Remedy = "the job goes on from the savepoint; stop it again"
		case recorded:
			out.Remedy = "this id stands for the attempt that failed: try again with another one, when the cause is gone"
		}
		if out.Error == "" {
			out.Error = string(op.Outcome)
		}
	}
	return out
}

// submit starts an operation, or finds the one of that id.
func (c *Coordinator) submit(ctx context.Context, s submission) (contract.Operation, error) {
	if err := s.validate(); err != nil {
		return contract.Operation{}, err
	}
	if err := c.inStandby(); err != nil {
		return contract.Operation{}, err
	}
	type answer struct {
		op  contract.Operation
		err error
	}
	a, err := ask(ctx, c, func(l *loop) answer {
		op, err := l.submit(s)
		return answer{op, err}
	})
	if err != nil {
		if op, ok := c.left(s.id); ok {
			return op, nil
		}
		return contract.Operation{}, unavailable(err)
	}
	return a.op, a.err
}

// operation returns an operation, waiting up to wait for its end.
func (c *Coordinator) operation(ctx context.Context, id string, wait time.Duration) (contract.Operation, error) {
	if err := c.inStandby(); err != nil {
		return contract.Operation{}, err
	}
	type found struct {
		op   contract.Operation
		done chan struct{}
		ok   bool
	}
	look := func(l *loop) found {
		if op := l.ops.byID[id]; op != nil {
			return found{op.Operation, op.done, true}
		}
		op, ok := l.recorded(id)
		return found{op: op, ok: ok}
	}
	f, err := ask(ctx, c, look)
	if err == nil && f.ok && !f.op.Phase.Ended() && wait > 0 {
		t := time.NewTimer(wait)
		defer t.Stop()
		select {
		case <-f.done:
		case <-t.C:
		case <-ctx.Done():
		}
		f, err = ask(ctx, c, look)
	}
	if err != nil {
		f.op, f.ok = c.left(id)
		if !f.ok && ctx.Err() != nil {
			return contract.Operation{}, unavailable(err)
		}
	}
	if !f.ok {
		return contract.Operation{}, &contract.APIError{
			Status: http.StatusNotFound, Message: fmt.Sprintf("there is no operation %q", id),
			Remedy: "the coordinator remembers those that it was asked for and the newest that the job's head names",
		}
	}
	if f.op.Phase.Ended() {
		c.final.hear(id)
	}
	return f.op, nil
}

// recorded finds an operation that the head names.
func (l *loop) recorded(id string) (contract.Operation, bool) {
	op, ok := l.inHead(id)
	if !ok {
		return contract.Operation{}, false
	}
	return l.outcome(op), true
}

func (l *loop) inHead(id string) (snapshot.Operation, bool) {
	for _, op := range l.machine.Status(time.Now()).Operations {
		if op.ID == id {
			return op, true
		}
	}
	return snapshot.Operation{}, false
}

func unavailable(err error) error {
	return &contract.APIError{Status: http.StatusServiceUnavailable, Message: err.Error()}
}

func (s submission) validate() error {
	if !operationIDs.MatchString(s.id) {
		return badRequest(fmt.Sprintf("operationID %q is not valid", s.id),
			"give 1 to 64 letters, digits, dots, dashes or underscores that begin and end with a letter or digit")
	}
	if s.timeout < 0 {
		return badRequest(fmt.Sprintf("timeout %v is negative", s.timeout), "leave it out for the checkpoint timeout")
	}
	for part := range strings.SplitSeq(s.target, "/") {
		if part == ".." {
			return badRequest(fmt.Sprintf("target %q leaves the job's storage", s.target), `give a path without ".."`)
		}
	}
	return nil
}

// final is what is left of the loop for callers that ask after its end.
type final struct {
	// Written before Coordinator.ended is closed, read after.
	status  *contract.JobStatus
	history *contract.CheckpointsReport
	details map[int64]*contract.CheckpointDetail
	ops     map[string]contract.Operation
	// recorded are those that the head names and nobody has asked this coordinator for.
	recorded map[string]contract.Operation

	mu struct {
		sync.Mutex
		heard map[string]bool
		// all is closed when every operation has been heard of.
		all chan struct{}
	}
}

// left returns an operation after the end of the loop.
func (c *Coordinator) left(id string) (contract.Operation, bool) {
	select {
	case <-c.ended:
	default:
		return contract.Operation{}, false
	}
	op, ok := c.final.ops[id]
	if !ok {
		op, ok = c.final.recorded[id]
	}
	return op, ok
}

// keep keeps what callers may ask for after the end of the loop.
func (f *final) keep(l *loop, now time.Time) {
	f.ops, f.recorded = map[string]contract.Operation{}, map[string]contract.Operation{}
	for id, op := range l.ops.byID {
		f.ops[id] = op.Operation
	}
	f.status = l.report(now)
	for _, op := range slices.Backward(l.machine.Status(now).Operations) {
		if _, asked := f.ops[op.ID]; asked {
			continue
		}
		out := l.outcome(op)
		if !out.Phase.Ended() {
			out.Phase = contract.OperationUnknown
		}
		f.recorded[op.ID] = out
		if len(f.status.Operations) < shownOperations {
			f.status.Operations = append(f.status.Operations, out)
		}
	}
	f.history = l.history()
	f.details = l.details(f.history)
}

// hear notes that somebody was told the outcome of an operation.
func (f *final) hear(id string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.mu.heard == nil {
		f.mu.heard = map[string]bool{}
	}
	f.mu.heard[id] = true
	f.check()
}

// everybody returns a channel that is closed when the outcome of every operation has been heard. Called after the end.
func (f *final) everybody() <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mu.all = make(chan struct{})
	f.check()
	return f.mu.all
}

func (f *final) check() {
	if f.mu.all == nil {
		return
	}
	for id := range f.ops {
		if !f.mu.heard[id] {
			return
		}
	}
	select {
	case <-f.mu.all:
	default:
		close(f.mu.all)
	}
}
