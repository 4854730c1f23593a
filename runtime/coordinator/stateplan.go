// SPDX-License-Identifier: Apache-2.0

package coordinator

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/weir-stream/weir/runtime/contract"
	"github.com/weir-stream/weir/runtime/snapshot"
	"github.com/weir-stream/weir/runtime/snapshot/assign"
)

// PlanState builds the graph of a job and says what would become of the state of the snapshot at path, within the store: which operators would take it, start
// empty, can't take it, and what would be dropped. It writes and claims nothing. That the job can't start from the snapshot is no error but a plan
// that isn't accepted; the error says why there is no plan. Job, Build, Store and Location of the options count.
func PlanState(ctx context.Context, o Options, path string) (contract.StatePlan, error) {
	c, err := New(o)
	if err != nil {
		return contract.StatePlan{}, err
	}
	c.o.Operated = true
	p := &prepared{cfg: c.o.Job, grant: 1}
	p.cfg.Parallelism = max(p.cfg.Parallelism, 1)
	p.cfg.RestoreFrom = path
	return c.planState(ctx, p)
}

// planState plans the state that p would start from. What is found out on the way is kept in p.
func (c *Coordinator) planState(ctx context.Context, p *prepared) (contract.StatePlan, error) {
	var plan contract.StatePlan
	for _, step := range []func() error{
		func() error { return c.relocate(&p.cfg) },
		func() error { return c.adopt(ctx, p) },
		func() error { return c.layOut(p) },
	} {
		if err := step(); err != nil {
			return plan, err
		}
	}
	var m *snapshot.Manifest
	if p.from != nil {
		if p.from.err != nil {
			return plan, p.from.err
		}
		m = p.from.manifest
		plan.Snapshot = c.describeNewest(p.from.Newest, m)
		plan.Warnings = leftOutWarnings(p.from.leftOut)
	}
	o := assign.Options{AllowNonRestoredState: p.cfg.AllowNonRestoredState, AllowDrained: p.cfg.AllowDrained || p.goesOn()}
	plan.Operators = operatorPlans(assign.Fates(p.shape, m, o))
	if err := c.takes(p); err != nil {
		e, ok := errors.AsType[*assign.IncompatibleError](err)
		if !ok {
			return plan, err
		}
		plan.Problems = e.Problems
		return plan, nil
	}
	plan.Warnings = append(plan.Warnings, assign.Warnings(p.shape, m, o)...)
	problems, warnings := c.schemaProblems(ctx, p)
	plan.Warnings = append(plan.Warnings, warnings...)
	for _, s := range problems {
		refuse(&plan, s)
	}
	plan.Accepted = len(plan.Problems) == 0
	return plan, nil
}

// refuse adds that an operator uses its state in another way than the snapshot has it.
func refuse(plan *contract.StatePlan, s schemaProblem) {
	plan.Problems = append(plan.Problems, s.String())
	for i := range plan.Operators {
		if op := &plan.Operators[i]; op.Name == s.operator && op.Outcome == contract.StateMaps {
			op.Outcome, op.Reason = contract.StateIncompatible, strings.TrimPrefix(s.err.Error(), fmt.Sprintf("operator %q: ", s.operator))
		}
	}
}

func operatorPlans(fates []assign.Fate) []contract.OperatorPlan {
	outcomes := map[assign.FateKind]contract.StateOutcome{
		assign.Maps: contract.StateMaps, assign.StartsEmpty: contract.StateStartsEmpty,
		assign.Dropped: contract.StateDropped, assign.Incompatible: contract.StateIncompatible,
	}
	var out []contract.OperatorPlan
	for _, f := range fates {
		out = append(out, contract.OperatorPlan{Name: f.Name, From: f.From, Outcome: outcomes[f.Kind], Bytes: f.Bytes, Reason: f.Why})
	}
	return out
}
