// SPDX-License-Identifier: Apache-2.0

package coordinator

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/weir-stream/weir/runtime/contract"
	"github.com/weir-stream/weir/runtime/job"
)

// policy changes what can change without a restart.
func (a *api) policy(r *http.Request) (any, int, error) {
	var p contract.Policy
	if err := decode(r, &p); err != nil {
		return nil, 0, err
	}
	if !operationIDs.MatchString(p.Revision) {
		return nil, 0, badRequest("the policy has no valid revision", "give 1 to 64 letters, digits, dots, dashes or underscores")
	}
	ctx, cancel := context.WithTimeout(r.Context(), apiCallTimeout)
	defer cancel()
	inForce, err := a.control.setPolicy(ctx, p)
	return inForce, http.StatusOK, err
}

// setPolicy puts a policy into force unless it is already, and returns the one in force.
func (c *Coordinator) setPolicy(ctx context.Context, p contract.Policy) (contract.Policy, error) {
	if err := c.inStandby(); err != nil {
		return contract.Policy{}, err
	}
	type answer struct {
		policy contract.Policy
		err    error
	}
	a, err := ask(ctx, c, func(l *loop) answer {
		policy, err := l.setPolicy(p)
		return answer{policy, err}
	})
	switch {
	case errors.Is(err, errEnded):
		return contract.Policy{}, conflict("the job has ended", "a policy is for a job that runs")
	case err != nil:
		return contract.Policy{}, unavailable(err)
	}
	return a.policy, a.err
}

func (l *loop) setPolicy(p contract.Policy) (contract.Policy, error) {
	if now := l.machine.Policy(); now.Revision == p.Revision {
		return now, nil
	}
	if err := checkTransactions(l.prepared.graph, p.Checkpointing); err != nil {
		return contract.Policy{}, badRequest(err.Error(), "correct the policy")
	}
	err := l.machine.HandlePolicy(time.Now(), p)
	switch {
	case errors.Is(err, job.ErrNeedsRestart):
		return contract.Policy{}, conflict(err.Error(), "stop the job with a savepoint and start it with the new configuration")
	case err != nil:
		return contract.Policy{}, badRequest(err.Error(), "correct the policy")
	}
	l.log.Info("The policy changed", "revision", p.Revision)
	return l.machine.Policy(), nil
}

// setPolicy hands a policy to the coordinator that there is; the next one reads it from the configuration.
func (s *Supervisor) setPolicy(ctx context.Context, p contract.Policy) (contract.Policy, error) {
	if c, _ := s.now(); c != nil && c.ready.Load() {
		return c.setPolicy(ctx, p)
	}
	return contract.Policy{}, s.notYet()
}
