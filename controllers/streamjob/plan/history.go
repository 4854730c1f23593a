// SPDX-License-Identifier: Apache-2.0

package plan

import (
	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
)

const (
	// maxHistory is how many versions status.history has.
	maxHistory = 10
	// maxHistoryText bounds the texts in it.
	maxHistoryText = 256
)

// entry is the history of the deployed version; nil when it has none.
func (p *planner) entry() *streamv1.HistoryEntry {
	d := p.st.Deployment
	if d == nil || len(p.st.History) == 0 || p.st.History[0].Grant != d.Grant {
		return nil
	}
	return &p.st.History[0]
}

// record begins the history of a version that is being deployed.
func (p *planner) record() {
	d := p.st.Deployment
	p.st.History = append([]streamv1.HistoryEntry{{
		Grant: d.Grant, Revision: d.Revision, Generation: d.Generation, DeployedAt: Seconds(p.now),
		Outcome: streamv1.OutcomeDeployed, RequestedMode: p.st.Restore.RequestedMode,
	}}, p.st.History...)
	p.st.History = p.st.History[:min(len(p.st.History), maxHistory)]
}

// close ends the history of the deployed version, unless something ended it before.
func (p *planner) close(outcome streamv1.HistoryOutcome, message string) {
	h := p.entry()
	if h == nil || !h.EndedAt.IsZero() {
		return
	}
	h.Outcome, h.EndedAt, h.Message = outcome, Seconds(p.now), Cut(message, maxHistoryText)
}

// neverRan says why the deployed version never ran; empty: it did.
func (p *planner) neverRan() string {
	h := p.entry()
	if h == nil || h.EffectiveMode != "" {
		return ""
	}
	if t := p.trouble(); t != nil {
		return "it never ran: " + t.Reason + ": " + t.Message
	}
	return "it was replaced before it ran"
}

// outcomes are what becomes of a version by how its job ended.
var outcomes = map[streamv1.JobEnd]streamv1.HistoryOutcome{
	streamv1.EndStopped:   streamv1.OutcomeSuspended,
	streamv1.EndFinished:  streamv1.OutcomeCompleted,
	streamv1.EndFailed:    streamv1.OutcomeFailed,
	streamv1.EndCancelled: streamv1.OutcomeCancelled,
}
