// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
	"github.com/weir-stream/weir/runtime/contract"
)

const (
	// defaultStableCheckpoints is how many checkpoints make a version stable when the spec doesn't say.
	defaultStableCheckpoints = 3
	// stableTime is how long a version without checkpoints must run.
	stableTime = time.Minute
	// unheard stands for the restarts before a version that has not been heard of.
	unheard = -1
)

// newStability is for a version that is being deployed.
func (p *planner) newStability(l launching) *streamv1.StabilityReport {
	return &streamv1.StabilityReport{Grant: l.grant, Wanted: p.stableCheckpoints(l.spec), RestartsBefore: unheard}
}

// deployedSpec is the spec of the deployed version, as far as it is known.
func (p *planner) deployedSpec() *streamv1.StreamJobSpec {
	if p.launched != nil {
		return p.launched
	}
	if v := p.deployed(); v.Stored != nil && v.Stored.Spec != nil {
		return v.Stored.Spec
	}
	return p.spec
}

// stableCheckpoints is how many checkpoints make a version stable; 0: it has none.
func (p *planner) stableCheckpoints(spec *streamv1.StreamJobSpec) int32 {
	if spec.Checkpointing == nil {
		return 0
	}
	if n := p.rollbackSettings().StableCheckpoints; n > 0 {
		return n
	}
	return defaultStableCheckpoints
}

// gate looks whether the deployed version has become stable, or is so no longer.
func (p *planner) gate(e *contract.JobStatus) {
	d, job := p.st.Deployment, p.was.Job
	if e.Epoch.Grant != d.Grant {
		return
	}
	if p.st.Stability == nil || p.st.Stability.Grant != d.Grant {
		stable := p.st.LastStable != nil && p.st.LastStable.Grant == d.Grant
		if stable && (job == nil || e.Restarts <= job.Restarts) {
			return
		}
		p.st.Stability = p.newStability(launching{grant: d.Grant, spec: p.deployedSpec()})
		if stable {
			p.st.Stability.RestartsBefore = job.Restarts
		}
		if h := p.entry(); h != nil && h.Outcome == streamv1.OutcomeStable {
			h.Outcome = streamv1.OutcomeDeployed
		}
	}
	s := p.st.Stability
	s.Wanted = p.stableCheckpoints(p.deployedSpec())
	if s.RestartsBefore == unheard {
		s.RestartsBefore = e.Restarts
	}
	restarts := int32(min(e.Restarts-s.RestartsBefore, 1<<30))
	if epoch := p.st.Job.Epoch; restarts != s.Restarts || epoch != s.Epoch {
		s.Restarts, s.Epoch, s.Since, s.Checkpoints = restarts, epoch, metav1.Time{}, 0
	}
	if p.justLost() {
		return // one poll that fails is no news; a restart that it missed is counted, or is of another epoch
	}
	if e.State != contract.JobRunning || !p.answers() {
		s.Since, s.Checkpoints = metav1.Time{}, 0
		return
	}
	if s.Since.IsZero() {
		s.Since, s.AfterCheckpoint = Seconds(p.now), p.startOf(e, restarts)
	}
	p.count(e)
	if p.isStable() {
		p.promote()
	}
}

// startOf is the newest checkpoint that does not speak for the version as it runs now.
func (p *planner) startOf(e *contract.JobStatus, restarts int32) int64 {
	var id int64
	if e.RestoredFrom != nil {
		id = e.RestoredFrom.ID
	}
	if restarts == 0 {
		return id
	}
	if e.LastCheckpoint != nil { // a part of the job may have been restarted alone
		id = max(id, e.LastCheckpoint.ID)
	}
	if h := p.o.Engine.Checkpoints; h != nil {
		for i := range h.Recent {
			id = max(id, h.Recent[i].ID)
		}
	}
	return id
}

// count counts the checkpoints that were completed since the last look.
func (p *planner) count(e *contract.JobStatus) {
	s := p.st.Stability
	newest, n := s.AfterCheckpoint, int32(0)
	if h := p.o.Engine.Checkpoints; h != nil {
		for i := range h.Recent {
			if r := &h.Recent[i]; r.Kind == "Checkpoint" && r.State == "Completed" && r.ID > s.AfterCheckpoint {
				n++
				newest = max(newest, r.ID)
			}
		}
	}
	if c := e.LastCheckpoint; c != nil && c.ID > newest {
		n++
		newest = c.ID
	}
	s.Checkpoints = min(s.Checkpoints+n, max(s.Wanted, 0))
	s.AfterCheckpoint = newest
}

// isStable says that the version has done what it takes.
func (p *planner) isStable() bool {
	s := p.st.Stability
	if s.Wanted > 0 {
		return s.Checkpoints >= s.Wanted
	}
	left := stableTime - p.now.Sub(s.Since.Time)
	if left > 0 {
		p.again(left)
	}
	return left <= 0
}

// promote makes the deployed version the stable one: what a rollback goes back to.
func (p *planner) promote() {
	if op := p.was.Operation; op != nil && op.Type == streamv1.RollbackOperation && op.Phase != streamv1.OperationStarting {
		return // its end is decided
	}
	d := p.st.Deployment
	p.st.Stability = nil
	p.st.LastStable = &streamv1.StableReport{Grant: d.Grant, Revision: d.Revision, Generation: d.Generation, At: Seconds(p.now)}
	if h := p.entry(); h != nil {
		h.Outcome = streamv1.OutcomeStable
	}
	if p.st.Rollback != nil && !p.backInPlace() {
		p.st.Rollback = nil // it came up after all
	}
	p.event(Normal, "Stable", "Run", fmt.Sprintf("Revision %s, grant %d, is stable", d.Revision, d.Grant))
}

// heardFaults notes since when pods of a version that isn't stable have a fault.
func (p *planner) heardFaults() {
	s := p.st.Stability
	if s == nil || !live(p.was) || s.Grant != p.was.Deployment.Grant {
		return
	}
	switch {
	case p.fault() == nil:
		s.FailingSince = metav1.Time{}
	case s.FailingSince.IsZero():
		s.FailingSince = Seconds(p.now)
	}
}
