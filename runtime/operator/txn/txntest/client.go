// SPDX-License-Identifier: Apache-2.0

package txntest

import (
	"context"

	"github.com/weir-stream/weir/runtime/operator"
	"github.com/weir-stream/weir/runtime/operator/txn"
)

// Client is a [txn.Client] of int64 rows in an outside.
type Client struct{ s *Sink }

// NewClient returns a client of one subtask.
func NewClient(o *Outside) *Client { return &Client{NewSink(o)} }

// Open implements [txn.Client].
func (c *Client) Open(ctx context.Context, oc *operator.Context) error { return c.s.Open(ctx, oc) }

// Begin implements [txn.Client].
func (c *Client) Begin(ctx context.Context) (txn.Session[int64], error) {
	t, err := c.s.begin(ctx)
	return &session{t}, err
}

// Commit implements [txn.Client].
func (c *Client) Commit(ctx context.Context, handle []byte) error {
	return c.s.Commit(ctx, [][]byte{handle})
}

// AbortLeftovers implements [txn.Client].
func (c *Client) AbortLeftovers(ctx context.Context, keep [][]byte) error {
	return c.s.AbortLeftovers(ctx, keep)
}

// Close implements [txn.Client].
func (c *Client) Close() error { return c.s.Close() }

type session struct{ t *transaction }

// Write implements [txn.Session].
func (s *session) Write(ctx context.Context, rows []int64) error { return s.t.write(ctx, rows) }

// PreCommit implements [txn.Session].
func (s *session) PreCommit(ctx context.Context) ([]byte, error) {
	s.t.sealed = true
	handles, err := s.t.PreCommit(ctx)
	if err != nil {
		return nil, err
	}
	return handles[0], nil
}

// Abort implements [txn.Session].
func (s *session) Abort(ctx context.Context) error { return s.t.Abort(ctx) }
