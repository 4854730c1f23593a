// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"fmt"
	"slices"
	"strings"
	"time"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
	"github.com/weir-stream/weir/runtime/contract"
)

// warmPatience is how long the pods of a new version may take to stand by before the upgrade goes on without them.
const warmPatience = 30 * time.Second

// surges says that the pods of the next version are to be started before the one that runs stops. What they take over is the newest state in storage, so
// there has to be storage, and a savepoint to be made.
func (p *planner) surges() bool {
	u := p.spec.Upgrade
	return u != nil && u.Surge == streamv1.SurgeIfPossible && p.spec.Storage != nil && p.mode() == string(streamv1.UpgradeFromSavepoint) && !p.leaves()
}

// isCandidate says that what is stored is the version which is wanted now.
func (p *planner) isCandidate(s *Stored) bool {
	return s != nil && s.Revision == p.o.Revision && s.PolicyRevision == p.o.PolicyRevision && s.JobID == p.nextID() && s.Standby == p.surges()
}

// warm says that the pods of the next version are to be there beside those of the one that runs, and that this is written.
func (p *planner) warm() bool {
	was, op := p.was.Operation, p.st.Operation
	return was != nil && op != nil && was.Warm && op.Warm
}

// applyCandidate makes and keeps the objects of the version that stands by.
func (p *planner) applyCandidate() {
	if grant := p.was.Grant + 1; p.warm() && p.version(grant).Stored != nil {
		p.do(Apply{Grant: grant})
	}
}

// activate has the deployed version claim the job, if its coordinator stands by. It is asked until it doesn't stand by any more.
func (p *planner) activate() {
	if p.answers() && p.engine().State == contract.JobStandby {
		p.do(Activate{Grant: p.was.Deployment.Grant})
		p.again(poll)
	}
}

// driveWarming waits until the pods of the new version stand by. When there is no room for them, or they take too long, nothing is lost: the old version
// runs, and the upgrade goes on as one without them. With a fault that would be there then, too, it doesn't go on at all, unless there is only a stable
// version left that can run: that takes the place of the new one, as of any that fails.
func (p *planner) driveWarming() {
	v := p.version(p.was.Grant + 1)
	standby, t := p.standby(), candidateTrouble(v)
	switch {
	case !p.isCandidate(v.Stored):
		p.enter(streamv1.OperationChecking) // something else is wanted by now
		p.holdFor(nil)
		p.again(shortly)
	case standby != nil && standby.Plan != nil && !standby.Plan.Accepted:
		p.fail(string(contract.IncompatibleState), "the new version cannot take over: "+strings.Join(standby.Plan.Problems, "; "))
	case t != nil && !t.fitsAlone() && (t.Reason != streamv1.ReasonPodCrashing || standby == nil || !standby.Ready):
		p.hold(t)
	case p.st.Operation.Reason != "": // that has passed: the pods have as long as others to stand by
		p.noteWarm()
		p.enter(streamv1.OperationWarming)
		p.holdFor(nil)
		p.again(shortly)
	default:
		p.awaitStandby(standby, t)
	}
}

// hold keeps the new version, which can't run, from taking the place of the old one. When the old one doesn't run on either and the stable version before can,
// a rollback is due, and only a version that was deployed is rolled back: then the new one is.
func (p *planner) hold(t *Trouble) {
	if p.pending() == "" && p.stableBefore(p.was.Grant+1, p.o.Revision) != nil {
		if p.mayOvertake() {
			p.drop()
			return
		}
		if cause := p.fatal(); cause != nil && p.rollbackTarget() != nil {
			p.event(Warning, "UpgradedCold", "Upgrade", "The old version has failed before the pods of the new one are there: "+cause.Message)
			p.noteWarm()
			p.launchCandidate("the version before had failed, too: " + cause.Message)
			return
		}
	}
	p.holdFor(t)
}

// besideOld says how the old version does while the new one is made ready.
func (p *planner) besideOld() string {
	switch e := p.engine(); {
	case p.runsOn():
		return " while the old one runs"
	case e == nil || !p.answers():
		return "; the coordinator of the old one does not answer"
	case e.State == contract.JobFailed:
		return "; the old one has failed for good"
	case e.Problem != nil:
		return fmt.Sprintf("; the old one is %s (%s)", e.State, e.Problem.Reason)
	default:
		return fmt.Sprintf("; the old one is %s", e.State)
	}
}

// holdFor notes what keeps the pods of the new version from running beside the old one; nil: nothing does any more.
func (p *planner) holdFor(t *Trouble) {
	op := p.st.Operation
	op.Reason, op.Message = "", ""
	if t != nil {
		what := "this has to be mended: "
		if p.runsOn() {
			what = "the old version runs on until this is mended: "
		}
		op.Reason, op.Message = t.Reason, cut(what+t.Message)
		op.Deadline = Seconds(time.Time{})
		p.again(10 * poll)
	}
}

// awaitStandby goes on when the pods of the new version stand by, or without them.
func (p *planner) awaitStandby(standby *contract.StandbyReport, t *Trouble) {
	op := p.st.Operation
	ready, never := p.canSave()
	switch {
	case never != "":
		p.noteWarm()
		p.launchCandidate(never)
	case !ready:
	case standby != nil && standby.Ready:
		p.noteWarm()
		p.enter(streamv1.OperationSaving)
	case t != nil:
		p.goCold(t.Message)
	case !p.now.Before(op.Deadline.Time):
		p.goCold(fmt.Sprintf("they did not stand by within %v%s", warmPatience, p.heardOfCandidate()))
	default:
		p.waits = "waiting for the pods of the new version to stand by" + p.heardOfCandidate()
		p.again(min(poll, op.Deadline.Sub(p.now)))
	}
}

// noteWarm notes how long the pods of the new version were waited for.
func (p *planner) noteWarm() { p.st.Operation.WarmMillis += p.sincePhase() }

// goCold goes on with the upgrade without the pods of the new version, which are deleted and made again when the old ones have stopped. They don't stand by
// then: a program of an older version may not know how to.
func (p *planner) goCold(why string) {
	p.event(Warning, "UpgradedCold", "Upgrade", "The old version is stopped before the pods of the new one are there: "+why)
	p.do(p.ids(Store{Grant: p.was.Grant + 1}))
	p.st.Operation.Warm = false
	p.noteWarm()
	p.enter(streamv1.OperationSaving)
}

// standby is how far the coordinator of the new version is; nil: it doesn't say.
func (p *planner) standby() *contract.StandbyReport {
	c := p.o.Candidate
	if c == nil || c.Grant != p.was.Grant+1 || c.Status == nil || !c.UnreachableSince.IsZero() {
		return nil
	}
	return c.Status.Standby
}

// heardOfCandidate is what the coordinator of the new version says it waits for.
func (p *planner) heardOfCandidate() string {
	c := p.o.Candidate
	switch {
	case c == nil || c.Grant != p.was.Grant+1 || c.Status == nil:
		return ""
	case c.Status.Problem != nil:
		return ": " + c.Status.Problem.Message
	case c.Status.Message != "":
		return ": " + c.Status.Message
	}
	return ""
}

// candidateTrouble is what keeps a pod of a version from running; nil: nothing does. What would keep it from running in any case comes first.
func candidateTrouble(v Version) *Trouble {
	found := v.Refused.trouble()
	for _, pod := range slices.Concat(v.Coordinator, v.Workers) {
		t := pod.Trouble
		if t == nil || found != nil && (!found.fitsAlone() || t.fitsAlone()) {
			continue
		}
		found = &Trouble{Reason: t.Reason, Message: "Pod " + pod.Name + ": " + t.Message, Alone: t.Alone}
	}
	return found
}

// fitsAlone says that the pod may well run once those of the version before are gone.
func (t *Trouble) fitsAlone() bool { return t.Alone || t.Reason == streamv1.ReasonUnschedulable }
