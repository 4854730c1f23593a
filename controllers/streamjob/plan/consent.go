// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
	"github.com/weir-stream/weir/runtime/contract"
)

// idLength is how many digits the id of a job has.
const idLength = 32

// consent is the value of spec.upgrade.discardState that has not been used up; empty: there is none. It doesn't count while that isn't there
// which the job is to begin with in place of its state, and not against state that was just found.
func (p *planner) consent() string {
	if p.o.RestoreTrouble != nil || p.adopting || p.overtaking {
		return ""
	}
	return p.unconsumed()
}

// unconsumed is that value, whatever else there is.
func (p *planner) unconsumed() string {
	if u := p.spec.Upgrade; u != nil && u.DiscardState != p.st.DiscardedState {
		return u.DiscardState
	}
	return ""
}

// stateless says that the next version is to start without the state in storage.
func (p *planner) stateless() bool { return p.mode() == modeStateless && p.spec.Storage != nil }

// pending is the consent by which the deployed version was started; empty once it ran, and when it was started otherwise. The job stays with
// the lineage that began then, whatever becomes of the version and of the spec.
func (p *planner) pending() string {
	if d := p.was.Deployment; d != nil && d.DiscardState != p.st.DiscardedState && !p.adopting {
		return d.DiscardState
	}
	return ""
}

// discards says that the next version starts a lineage of its own beside the state that there is, which somebody has consented to.
func (p *planner) discards() bool {
	return p.stateless() && (p.pending() != "" || p.consent() != "" && (p.was.Deployment == nil || p.hasState()))
}

// leaves says that this very step turns away from state, so that what may still write to it must be shut out.
func (p *planner) leaves() bool {
	return p.discards() && p.pending() == "" && p.was.Deployment != nil
}

// wouldLose says that the next version would start empty over state without consent.
func (p *planner) wouldLose() bool {
	return p.stateless() && p.consent() == "" && p.pending() == "" && p.hasState()
}

// missesRestore says that the next version would begin with what spec.restoreFrom names, and that isn't there.
func (p *planner) missesRestore() bool {
	return p.o.RestoreTrouble != nil && (p.jobID() == "" || p.pending() != "")
}

// beginsOtherwise says that what the job begins with was edited before it began. Its coordinator reads that from a mounted file, which the kubelet brings up to
// date within a minute or so: a new one has it at once.
func (p *planner) beginsOtherwise(v Version) bool {
	if v.Stored == nil || p.held() || p.spec.Storage == nil || p.jobID() != "" || !p.nothingToLose(v) {
		return false
	}
	return beginning(v.Stored.Spec) != beginning(p.spec)
}

// origin is what says how a job begins that has no state of its own.
type origin struct {
	from streamv1.RestoreFrom
	// loose says that state may be left out.
	loose bool
}

func beginning(s *streamv1.StreamJobSpec) origin {
	o := origin{loose: s.Upgrade != nil && s.Upgrade.AllowNonRestoredState}
	if s.RestoreFrom != nil {
		o.from = *s.RestoreFrom
	}
	return o
}

// blockLoss says so, and what can be done.
func (p *planner) blockLoss() {
	if t := p.o.RestoreTrouble; t != nil && p.unconsumed() != "" {
		p.block(t.Reason, t.Message)
		return
	}
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

// lineage is the id of the job that a consent starts: the same when that is tried again, and another one for each time that state is left. The
// first half of it tells the StreamJob.
func (p *planner) lineage(consent string) string {
	before := ""
	if p.st.DiscardedState != "" && p.st.Job != nil {
		before = p.st.Job.ID
	}
	return digits(string(p.job.UID)) + digits(string(p.job.UID)+"/"+consent+"/"+before)
}

// digits are half of the id of a job, made of a text.
func digits(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])[:idLength/2]
}

// ownID says that a job was started by this StreamJob.
func (p *planner) ownID(id string) bool {
	return id == p.firstID() || len(id) == idLength && strings.HasPrefix(id, digits(string(p.job.UID)))
}

// looks says that the version which is deployed, or the one to come, looks which lineage of the job is the newest, as the status is older than what storage knows: the
// job may have left the one that is in it. It claims none, and says which it found.
func (p *planner) looks() bool {
	if p.adopting || p.jobID() == "" || p.jobID() == p.nobody() {
		return false
	}
	s := p.deployed().Stored
	return p.lost || s != nil && s.JobID == "" && s.NewJobID == p.nobody()
}

// nobody is an id of this StreamJob that no job has.
func (p *planner) nobody() string {
	return digits(string(p.job.UID)) + digits(string(p.job.UID)+"?")
}

// firstConsent is the consent that the very first version is started by.
func (p *planner) firstConsent() string {
	if p.was.Deployment == nil && p.spec.Storage != nil {
		return p.consent()
	}
	return ""
}

// newJobID is the id of a job that this StreamJob starts where storage has none.
func (p *planner) newJobID() string {
	if c := cmp.Or(p.pending(), p.firstConsent()); c != "" {
		return p.lineage(c)
	}
	return p.firstID()
}

// leaveState turns to a new lineage. The old one stays in storage.
func (p *planner) leaveState(id string) {
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
		return ", its newest known checkpoint in " + checkpoint.Path
	}
	return ", its newest savepoint in " + saved.Path
}
