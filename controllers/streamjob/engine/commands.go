// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"context"

	"github.com/weir-stream/weir/runtime/contract"
)

// commander bounds commands and has the job polled after each.
type commander struct {
	poller *Poller
	watch  *watch
}

var _ Commands = (*commander)(nil)

// Stop asks to stop the job with a savepoint.
func (c *commander) Stop(ctx context.Context, r contract.StopRequest) (*contract.Operation, error) {
	return command(ctx, c, r, c.watch.api.Stop)
}

// Savepoint asks for a savepoint.
func (c *commander) Savepoint(ctx context.Context, r contract.SavepointRequest) (*contract.Operation, error) {
	return command(ctx, c, r, c.watch.api.Savepoint)
}

// Checkpoint asks for a checkpoint now.
func (c *commander) Checkpoint(ctx context.Context, r contract.CheckpointRequest) (*contract.Operation, error) {
	return command(ctx, c, r, c.watch.api.Checkpoint)
}

// Cancel asks to cancel the job.
func (c *commander) Cancel(ctx context.Context, r contract.CancelRequest) (*contract.Operation, error) {
	return command(ctx, c, r, c.watch.api.Cancel)
}

// SetPolicy gives the coordinator another policy.
func (c *commander) SetPolicy(ctx context.Context, r contract.Policy) (*contract.Policy, error) {
	return command(ctx, c, r, c.watch.api.SetPolicy)
}

// Activate ends the standby of the coordinator.
func (c *commander) Activate(ctx context.Context, r contract.ActivateRequest) (*contract.Activation, error) {
	return command(ctx, c, r, c.watch.api.Activate)
}

func command[Q, A any](ctx context.Context, c *commander, r Q, call func(context.Context, Q) (*A, error)) (*A, error) {
	ctx, cancel := context.WithTimeout(ctx, commandTimeout)
	defer cancel()
	defer c.after()
	return call(ctx, r)
}

// after has the job polled at once and often for a while, whatever the command came to: its answer may have been lost.
func (c *commander) after() {
	c.poller.mu.Lock()
	c.watch.commandedAt = c.poller.Clock.Now()
	c.poller.mu.Unlock()
	select {
	case c.watch.kick <- struct{}{}:
	default:
	}
}
