// SPDX-License-Identifier: Apache-2.0

package coordinator

import (
	"errors"
	"fmt"
	"time"

	"github.com/weir-stream/weir/runtime/contract"
	"github.com/weir-stream/weir/runtime/graph"
	"github.com/weir-stream/weir/runtime/operator/txn"
)

// defaultCheckpointTimeout is how long a checkpoint may take when the configuration doesn't say.
const defaultCheckpointTimeout = 10 * time.Minute

// checkTransactions refuses sinks whose transactions may expire before a checkpoint commits them.
func checkTransactions(plan *graph.Plan, c *contract.Checkpointing) error {
	if c == nil {
		return nil // the only transaction ends with the input, whenever that is
	}
	interval, timeout := cadence(c)
	var errs []error
	for _, v := range plan.Vertices {
		for _, n := range v.Nodes {
			if !n.Transactional {
				continue
			}
			if n.TransactionTimeout > 0 && c.Interval <= 0 {
				errs = append(errs, fmt.Errorf("operator %q: checkpoints have no interval, so nothing commits a transaction before the outside drops it after %v: "+
					"set checkpointing.interval", n.Name, n.TransactionTimeout))
				continue
			}
			if err := txn.CheckTimeout(n.TransactionTimeout, interval, timeout); err != nil {
				errs = append(errs, fmt.Errorf("operator %q: %w", n.Name, err))
			}
		}
	}
	return errors.Join(errs...)
}

// cadence is the longest time between two triggers, and how long a checkpoint may take.
func cadence(c *contract.Checkpointing) (interval, timeout time.Duration) {
	interval, timeout = max(c.Interval, c.MinPause).D(), c.Timeout.D()
	if timeout == 0 {
		timeout = defaultCheckpointTimeout
	}
	return interval, timeout
}

// maxOutage is how long the job may be down before a transaction of a sink expires that waits for its commit; 0 for no bound.
func (l *loop) maxOutage() time.Duration {
	c := l.machine.Policy().Checkpointing
	if c == nil {
		return 0
	}
	interval, timeout := cadence(c)
	return txn.Outage(l.prepared.plan.TransactionTimeout, interval, timeout)
}
