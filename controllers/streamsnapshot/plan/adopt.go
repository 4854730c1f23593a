// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"fmt"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
	jobplan "github.com/weir-stream/weir/controllers/streamjob/plan"
	"github.com/weir-stream/weir/runtime/contract"
)

// adopt looks at a snapshot that was there before, by an agent pod. A checkpoint is pinned.
func (p *planner) adopt() {
	if p.was.OperationID == "" {
		p.prepareAdoption()
		return
	}
	r := p.awaitAgent(RunAgent{Task: InspectTask, Storage: p.was.Storage, Path: string(p.spec.Path)})
	switch {
	case r == nil:
	case r.OK && r.Snapshot != nil:
		p.found(r)
	default:
		reason, message := describe(r.Problem)
		p.fail(reason, message)
		p.stalled = needsSomebody(reason)
	}
}

// needsSomebody says of a reason that trying again is not enough.
func needsSomebody(reason string) bool {
	switch contract.ProblemReason(reason) {
	case contract.RestoreNotFound, contract.RestoreCorrupt, contract.StorageAccessDenied, contract.StorageNotFound, contract.StorageUnsuitable, contract.InvalidJob:
		return true
	default:
		return false
	}
}

func (p *planner) prepareAdoption() {
	storage := p.spec.Storage
	if ref := p.spec.JobRef; ref != nil {
		switch {
		case p.o.Job == nil:
			p.stall(streamv1.ReasonJobNotFound, fmt.Sprintf("StreamJob %s, whose storage holds the snapshot, does not exist: create it, or set spec.storage of another StreamSnapshot", ref.Name))
			return
		case p.o.Job.Spec.Storage == nil:
			p.stall(streamv1.ReasonNoStorage, fmt.Sprintf("StreamJob %s has no storage: set spec.storage of another StreamSnapshot instead of jobRef", ref.Name))
			return
		}
		storage = p.o.Job.Spec.Storage
	}
	if p.rests() {
		p.reason, p.stalled = p.restReason(), p.wasStalled()
		return
	}
	p.begin("inspect")
	p.st.Storage = storage.DeepCopy()
}

// restReason is that of the pause that lasts, as it was written, and wasStalled whether it needs somebody.
func (p *planner) restReason() string {
	for _, c := range p.was.Conditions {
		if c.Type == streamv1.ConditionReady && c.Reason != "" {
			return c.Reason
		}
	}
	return streamv1.ReasonRetrying
}

func (p *planner) wasStalled() bool { return needsSomebody(p.restReason()) }

// found takes over what an agent found.
func (p *planner) found(r *contract.AgentResult) {
	s := r.Snapshot
	p.st.Kind, p.st.Path, p.st.CheckpointID, p.st.SizeBytes = s.Kind, s.Path, s.ID, s.SizeBytes
	p.st.CompletedAt, p.st.JobID, p.st.Pinned = jobplan.Seconds(s.CompletedAt), r.JobID, r.Pinned
	p.completed()
}
