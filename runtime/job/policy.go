// SPDX-License-Identifier: Apache-2.0

package job

import (
	"cmp"
	"errors"
	"fmt"
	"time"

	"github.com/weir-stream/weir/runtime/checkpoint"
	"github.com/weir-stream/weir/runtime/contract"
)

// ErrNeedsRestart is wrapped by the error of a policy that a running job can't take over, while one that is deployed anew can.
var ErrNeedsRestart = errors.New("it needs a restart of the job")

// HandlePolicy puts a policy into force, or says what is wrong with it and changes nothing. For checkpoints see
// [checkpoint.Coordinator.SetPolicy]. Of the restart strategy the next failure is the first to feel the change: a delay under way is waited out, and the
// counters in the head stay, so that fixedDelay.attempts still counts every restart in the life of the job, and
// failureRate only the failures that happened under a failure rate.
func (m *Machine) HandlePolicy(now time.Time, p contract.Policy) error {
	if m.exited {
		return errors.New("setting the policy: the job has ended")
	}
	if err := checkRestartless(m.o.Config.Checkpointing, p.Checkpointing); err != nil {
		return err
	}
	strategy, err := NewStrategy(p.Restart, p.Checkpointing != nil)
	if err != nil {
		return err
	}
	next := m.o
	next.Config.Checkpointing, next.Config.Restart = p.Checkpointing, p.Restart
	if p.Checkpointing != nil {
		next.Config.Checkpointing = new(*p.Checkpointing)
	}
	next.StopTimeout = stopTimeout(&next.Config)
	if err := m.setCheckpointPolicy(now, next.Config.Checkpointing); err != nil {
		return err
	}
	m.o, m.strategy = next, strategy
	m.policy = p.Revision
	m.pump(now)
	return nil
}

// Policy returns what is in force; without a revision it is that of the configuration.
func (m *Machine) Policy() contract.Policy {
	p := contract.Policy{Revision: m.policy, Checkpointing: m.o.Config.Checkpointing, Restart: m.o.Config.Restart}
	if p.Checkpointing != nil {
		p.Checkpointing = new(*p.Checkpointing)
	}
	return p
}

// setCheckpointPolicy hands the checkpoint part on; before the head is claimed it is only checked.
func (m *Machine) setCheckpointPolicy(now time.Time, c *contract.Checkpointing) error {
	if c == nil {
		return nil
	}
	if m.snapshots != nil {
		return m.snapshots.SetPolicy(now, checkpointPolicy(c))
	}
	o := m.checkpointOptions()
	return o.Check(checkpointPolicy(c))
}

// checkRestartless refuses what tasks have to know.
func checkRestartless(old, c *contract.Checkpointing) error {
	switch {
	case (old == nil) != (c == nil):
		return fmt.Errorf("setting the policy: switching checkpoints on or off changes what tasks do: %w", ErrNeedsRestart)
	case c != nil && cmp.Or(old.Mode, contract.ExactlyOnce) != cmp.Or(c.Mode, contract.ExactlyOnce):
		return fmt.Errorf("setting the policy: changing the mode of checkpoints from %s to %s changes what tasks do: %w",
			cmp.Or(old.Mode, contract.ExactlyOnce), cmp.Or(c.Mode, contract.ExactlyOnce), ErrNeedsRestart)
	default:
		return nil
	}
}

func checkpointPolicy(c *contract.Checkpointing) checkpoint.Policy {
	p := checkpoint.Policy{
		Interval: c.Interval.D(), Timeout: c.Timeout.D(), MinPause: c.MinPause.D(),
		MaxConcurrent: c.MaxConcurrent, TolerableFailures: c.TolerableFailures, Retention: c.RetentionCount,
	}
	p.Unaligned, p.AlignmentTimeout = alignment(c)
	return p
}
