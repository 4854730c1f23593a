// SPDX-License-Identifier: Apache-2.0

package envtest

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync/atomic"

	kruntime "k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/weir-stream/weir/controllers/streamjob/engine"
	"github.com/weir-stream/weir/runtime/contract"
)

var (
	// errKilled is what an operator gets that is dead.
	errKilled = errors.New("the operator was killed")
	// errLost is what an operator gets whose connection breaks off.
	errLost = errors.New("unexpected EOF")
)

// strike says which of a number of calls fail. The zero value: none. It is safe for concurrent use.
type strike struct {
	// fails is asked with the number of a call; nil: none fails.
	fails         func(n int64) bool
	calls, struck atomic.Int64
}

// next counts a call, and returns its number and whether it fails.
func (s *strike) next() (n int64, fails bool) {
	n = s.calls.Add(1) - 1
	if fails = s.fails != nil && s.fails(n); fails {
		s.struck.Add(1)
	}
	return n, fails
}

// faults are what goes wrong with the calls of an operator that lives on.
type faults struct {
	// writes are writes to the API server and commands to coordinators; lost says which of those that fail are done nevertheless, so
	// that only their answer is lost.
	writes strike
	lost   func(n int64) bool
	// reads are those of the API server or of the cache, polls those of coordinators.
	reads, polls strike
}

// failsOnce lets write or command k of the operator fail, and no other. With done it happens nevertheless.
func failsOnce(k int, done bool) func(*operator) {
	return func(o *operator) {
		o.faults.writes.fails = func(n int64) bool { return n == int64(k) }
		o.faults.lost = func(int64) bool { return done }
	}
}

// failsOften lets one in parts writes and commands of the operator fail, and of those that fail about every second one happens nevertheless. Each
// number is in one part; which it is follows no rule that the steps of an operation could follow too.
func failsOften(part, parts int) func(*operator) {
	return func(o *operator) {
		o.faults.writes.fails = func(n int64) bool { return scattered(n)%uint64(parts) == uint64(part) }
		o.faults.lost = func(n int64) bool { return scattered(n+1)&1 == 0 }
	}
}

// readsFail lets one in parts reads of the operator and polls of coordinators fail.
func readsFail(parts int) func(*operator) {
	return func(o *operator) {
		fails := func(n int64) bool { return scattered(n)%uint64(parts) == 0 }
		o.faults.reads.fails, o.faults.polls.fails = fails, fails
	}
}

// scattered makes a number of another one that looks random.
func scattered(n int64) uint64 { return rand.New(rand.NewPCG(uint64(n), 1)).Uint64() >> 8 }

// killedAfter lets the operator do n writes and commands; what it tries afterwards does not happen.
func killedAfter(n int) func(*operator) { return func(o *operator) { o.budget.Store(int64(n)) } }

// struck returns how many calls have failed.
func (o *operator) struck() int64 {
	return o.faults.writes.struck.Load() + o.faults.reads.struck.Load() + o.faults.polls.struck.Load()
}

// spend takes one write from the budget.
func (o *operator) spend() error {
	for {
		left := o.budget.Load()
		switch {
		case left < 0:
			return nil
		case left == 0:
			o.once.Do(func() { close(o.dead) })
			return errKilled
		case o.budget.CompareAndSwap(left, left-1):
			return nil
		}
	}
}

// write does a write or command, as far as the faults of the operator let it.
func (o *operator) write(do func() error) error {
	if err := o.spend(); err != nil {
		return err
	}
	n, fails := o.faults.writes.next()
	if !fails {
		return do()
	}
	if o.faults.lost(n) {
		if err := do(); err != nil {
			return err
		}
	}
	return errLost
}

func (o *operator) interceptor() interceptor.Funcs {
	return interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, obj client.Object, opts ...client.GetOption) error {
			if _, fails := o.faults.reads.next(); fails {
				return errLost
			}
			return c.Get(ctx, key, obj, opts...)
		},
		List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, opts ...client.ListOption) error {
			if _, fails := o.faults.reads.next(); fails {
				return errLost
			}
			return c.List(ctx, list, opts...)
		},
		Create: func(ctx context.Context, c client.WithWatch, obj client.Object, opts ...client.CreateOption) error {
			return o.write(func() error { return c.Create(ctx, obj, opts...) })
		},
		Delete: func(ctx context.Context, c client.WithWatch, obj client.Object, opts ...client.DeleteOption) error {
			return o.write(func() error { return c.Delete(ctx, obj, opts...) })
		},
		Update: func(ctx context.Context, c client.WithWatch, obj client.Object, opts ...client.UpdateOption) error {
			return o.write(func() error { return c.Update(ctx, obj, opts...) })
		},
		Patch: func(ctx context.Context, c client.WithWatch, obj client.Object, patch client.Patch, opts ...client.PatchOption) error {
			return o.write(func() error { return c.Patch(ctx, obj, patch, opts...) })
		},
		Apply: func(ctx context.Context, c client.WithWatch, obj kruntime.ApplyConfiguration, opts ...client.ApplyOption) error {
			return o.write(func() error { return c.Apply(ctx, obj, opts...) })
		},
		SubResourcePatch: func(
			ctx context.Context, c client.Client, sub string, obj client.Object, patch client.Patch, opts ...client.SubResourcePatchOption,
		) error {
			return o.write(func() error { return c.SubResource(sub).Patch(ctx, obj, patch, opts...) })
		},
		SubResourceApply: func(
			ctx context.Context, c client.Client, sub string, obj kruntime.ApplyConfiguration, opts ...client.SubResourceApplyOption,
		) error {
			return o.write(func() error { return c.SubResource(sub).Apply(ctx, obj, opts...) })
		},
	}
}

// mortal is a connection that dies with its operator, or has its faults.
type mortal struct {
	connection
	operator *operator
}

var _ engine.API = mortal{}

// commanded has a coordinator do something.
func commanded[Q, A any](ctx context.Context, o *operator, r Q, do func(context.Context, Q) (*A, error)) (answer *A, err error) {
	err = o.write(func() (err error) {
		answer, err = do(ctx, r)
		return err
	})
	if err != nil {
		return nil, err
	}
	return answer, nil
}

// Stop asks to stop the job.
func (m mortal) Stop(ctx context.Context, r contract.StopRequest) (*contract.Operation, error) {
	return commanded(ctx, m.operator, r, m.connection.Stop)
}

// Savepoint asks for a savepoint.
func (m mortal) Savepoint(ctx context.Context, r contract.SavepointRequest) (*contract.Operation, error) {
	return commanded(ctx, m.operator, r, m.connection.Savepoint)
}

// Checkpoint asks for a checkpoint.
func (m mortal) Checkpoint(ctx context.Context, r contract.CheckpointRequest) (*contract.Operation, error) {
	return commanded(ctx, m.operator, r, m.connection.Checkpoint)
}

// Activate ends a standby.
func (m mortal) Activate(ctx context.Context, r contract.ActivateRequest) (*contract.Activation, error) {
	return commanded(ctx, m.operator, r, m.connection.Activate)
}

// Cancel asks to cancel the job.
func (m mortal) Cancel(ctx context.Context, r contract.CancelRequest) (*contract.Operation, error) {
	return commanded(ctx, m.operator, r, m.connection.Cancel)
}

// SetPolicy gives the job another policy.
func (m mortal) SetPolicy(ctx context.Context, r contract.Policy) (*contract.Policy, error) {
	return commanded(ctx, m.operator, r, m.connection.SetPolicy)
}

// Job asks how the job is.
func (m mortal) Job(ctx context.Context) (*contract.JobStatus, error) {
	if _, fails := m.operator.faults.polls.next(); fails {
		return nil, errLost
	}
	return m.connection.Job(ctx)
}

// Checkpoints asks for the history of checkpoints.
func (m mortal) Checkpoints(ctx context.Context) (*contract.CheckpointsReport, error) {
	if _, fails := m.operator.faults.polls.next(); fails {
		return nil, errLost
	}
	return m.connection.Checkpoints(ctx)
}
