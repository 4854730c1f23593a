// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"slices"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
)

// objects makes and keeps what the deployed version needs and deletes what nobody needs. A version is only acted upon once the
// status that names it is written.
func (p *planner) objects() {
	if p.released {
		p.deleteAll()
		return
	}
	if live(p.st) && p.written() {
		p.activate() // its grant is the higher one, so it doesn't matter what is left of the version before
	}
	for _, v := range p.o.Versions {
		p.cleanUp(v)
	}
	if live(p.st) && p.written() && p.deployed().Stored != nil {
		p.startsNow()
		p.do(Apply{Grant: p.st.Deployment.Grant})
		if !p.running() {
			p.again(5 * poll)
		}
		p.applyCandidate()
	}
	for i := range p.o.Agents {
		if name := p.o.Agents[i].Name; !p.usedAgents[name] {
			p.do(DeleteAgent{Name: name})
		}
	}
}

// written says that the deployed version is the one that the status named before.
func (p *planner) written() bool {
	return p.was.Deployment != nil && p.st.Deployment != nil && p.was.Deployment.Grant == p.st.Deployment.Grant
}

// cleanUp deletes the objects of a version that isn't needed.
func (p *planner) cleanUp(v Version) {
	switch {
	case p.was.Deployment != nil && v.Grant == p.was.Deployment.Grant && !p.written():
		// It goes once its successor is written down.
	case p.st.Deployment != nil && v.Grant == p.st.Deployment.Grant:
		if p.written() && !live(p.was) && v.Exists {
			p.do(Delete{Grant: v.Grant, KeepRevision: true})
		}
	case p.needed(v.Grant) && v.Exists && !p.warm() && p.st.Operation != nil && replaces(p.st.Operation):
		p.do(Delete{Grant: v.Grant, KeepRevision: true}) // the upgrade goes on without it
	case p.needed(v.Grant):
	case p.st.LastStable != nil && v.Grant == p.st.LastStable.Grant: // its stored revision is what a rollback goes back to
		if v.Exists {
			p.do(Delete{Grant: v.Grant, KeepRevision: true})
		}
	default:
		p.do(Delete{Grant: v.Grant})
	}
}

// needed says that the stored revision of a grant is about to be used.
func (p *planner) needed(grant int64) bool {
	if slices.ContainsFunc(p.plan.Actions, func(a Action) bool { s, ok := a.(Store); return ok && s.Grant == grant }) {
		return true
	}
	op := p.st.Operation
	switch {
	case op == nil:
		return false
	case op.Phase == streamv1.OperationFencing && grant == p.was.Grant && (p.deployed().Stored == nil || p.corrected(op)):
		return true
	case replaces(op) && op.Phase != streamv1.OperationStarting:
		return grant == p.was.Grant+1
	case op.Phase == streamv1.OperationDisposing || op.Type == streamv1.CancelOperation && op.Phase == streamv1.OperationWaiting:
		return grant == p.st.Grant
	default:
		return false
	}
}

// deleteAll deletes everything and lets the StreamJob go.
func (p *planner) deleteAll() {
	for _, v := range p.o.Versions {
		p.do(Delete{Grant: v.Grant})
	}
	for i := range p.o.Agents {
		p.do(DeleteAgent{Name: p.o.Agents[i].Name})
	}
	p.do(Release{})
}
