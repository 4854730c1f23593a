// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
	"github.com/weir-stream/weir/runtime/contract"
)

// idLength is how many digits the id of a job has.
const idLength = 32

// consent is the value of spec.upgrade.discardState that has not been used up; empty: there is none.
func (p *planner) consent() string {
	if u := p.spec.Upgrade; u != nil && u.DiscardState != p.st.DiscardedState {
		return u.DiscardState
	}
	return ""
}

// stateless says that the next version is to start without the state in storage.
func (p *planner) stateless() bool { return p.mode() == modeStateless && p.spec.Storage != nil }

// discards says that the next version starts a lineage of its own beside the state that there is, which somebody has consented to.
func (p *planner) discards() bool {
	c := p.consent()
	return p.stateless() && c != "" && (p.begun(c) || p.hasState() && p.st.Job.ID != p.lineage(c))
}

// begun says that a version is to start by a consent, or was, and has never run.
func (p *planner) begun(consent string) bool {
	return p.was.Deployment == nil || p.was.Deployment.DiscardState == consent && consent != p.st.DiscardedState
}

// wouldLose says that the next version would start empty over state without consent.
func (p *planner) wouldLose() bool { return p.stateless() && p.consent() == "" && p.hasState() }

// blockLoss says so, and what can be done.
func (p *planner) blockLoss() {
	used := ""
	if p.st.DiscardedState != "" {
		used = fmt.Sprintf("; %q is used up", p.st.DiscardedState)
	}
	p.block(streamv1.ReasonStateWouldBeLost, "spec.upgrade.mode: Stateless would start the job without its state, and nothing consents to that"+used+
		": set spec.upgrade.mode to Savepoint or LastCheckpoint to keep the state, or spec.upgrade.discardState to a new value to start without it once")
}

// hasState says that the job has state in storage, or may have some.
func (p *planner) hasState() bool {
	if p.st.Job == nil || p.st.Job.ID == "" || p.spec.Storage == nil {
		return false
	}
	if p.st.LastCheckpoint != nil || p.st.LastSavepoint != nil {
		return true
	}
	e := p.engine()
	sure := e != nil && p.answers() && e.Problem == nil && e.Epoch.Grant == p.was.Deployment.Grant &&
		e.State == contract.JobRunning && e.RestoredFrom == nil
	return !sure
}

// firstID is the id of the first job of this StreamJob.
func (p *planner) firstID() string { return strings.ReplaceAll(string(p.job.UID), "-", "") }

// lineage is the id of the job that a consent starts: the same for the same consent, so that a start that is tried again, or whose status
// was lost, starts no other one.
func (p *planner) lineage(consent string) string {
	sum := sha256.Sum256([]byte(string(p.job.UID) + "/" + consent))
	return hex.EncodeToString(sum[:])[:idLength]
}

// newJobID is the id of a job that this StreamJob starts.
func (p *planner) newJobID() string {
	if c := p.consent(); c != "" && p.spec.Storage != nil && p.begun(c) {
		return p.lineage(c)
	}
	return p.firstID()
}

// ownID says that a job was started by this StreamJob.
func (p *planner) ownID(id string) bool {
	if id == p.firstID() {
		return true
	}
	consents := []string{p.st.DiscardedState}
	if u := p.spec.Upgrade; u != nil {
		consents = append(consents, u.DiscardState)
	}
	for _, c := range consents {
		if c != "" && id == p.lineage(c) {
			return true
		}
	}
	return false
}

// leaveState turns to a new lineage. The old one stays in storage.
func (p *planner) leaveState(id string) {
	if p.st.Job != nil && p.st.Job.ID == id {
		return
	}
	note := "The job starts without state, as spec.upgrade.discardState says"
	if j := p.st.Job; j != nil && j.ID != "" {
		note += fmt.Sprintf("; that of job %s stays in storage", j.ID)
		if newest := savedAt(p.st); newest != "" {
			note += newestText(p.st)
		}
	}
	p.st.Job = &streamv1.JobReport{ID: id}
	p.st.LastCheckpoint, p.st.LastSavepoint, p.st.Checkpoints = nil, nil, nil
	p.event(Warning, "StateDiscarded", "Deploy", note)
}

// newestText names the newest snapshot that the status knows.
func newestText(st *streamv1.StreamJobStatus) string {
	saved, checkpoint := st.LastSavepoint, st.LastCheckpoint
	if saved == nil || checkpoint != nil && checkpoint.ID > saved.ID {
		return ", its newest checkpoint in " + checkpoint.Path
	}
	return ", its newest savepoint in " + saved.Path
}
