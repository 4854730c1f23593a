// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/weir-stream/weir/controllers/streamjob/plan"
	"github.com/weir-stream/weir/runtime/contract"
)

// gist is what matters of a report at once. Counters, times and the newest checkpoint are left out on purpose: they change all the
// time.
type gist struct {
	Unreachable    bool
	JobID          string
	State          contract.JobState
	Message        string
	Epoch          contract.Epoch
	Attempt        string
	Restarts       int64
	Failure        string
	FailedAt       time.Time
	RestoredFrom   string
	MaxParallelism int
	SlotsNeeded    int
	SlotsOffered   int
	Workers        int
	PolicyRevision string
	Savepoint      int64
	Operations     map[string]contract.OperationPhase
	Problem        string
	ProblemReason  contract.ProblemReason
	Warnings       []string
	CheckpointFail string
	Ready          bool
}

// news says whether a report is worth telling, and remembers it as told if so.
func (w *watch) news(r *plan.Engine, now time.Time) bool {
	g, checkpoint := gistOf(r), checkpointOf(r.Status)
	changed, tells := w.tells(g, checkpoint, now)
	if changed {
		w.changedAt = now
		if w.told != "" { // else nobody knew how it was before
			w.settlesAt = now
		}
	}
	if tells {
		w.told, w.toldCheckpoint, w.toldAt = g, checkpoint, now
	}
	return tells
}

// tells says whether something is worth telling, and whether that is because something has changed at once that matters.
func (w *watch) tells(gist string, checkpoint int64, now time.Time) (changed, tells bool) {
	switch {
	case gist != w.told:
		return true, true
	case checkpoint == w.toldCheckpoint:
		return false, false
	default:
		return false, w.toldCheckpoint == 0 || now.Sub(w.toldAt) >= w.checkpointPause(now)
	}
}

// checkpointPause is how long after anything was told another checkpoint is, when nothing else is new. After a change people watch, and a version
// is about to become stable.
func (w *watch) checkpointPause(now time.Time) time.Duration {
	if now.Sub(w.settlesAt) < settling {
		return checkpointsEvery
	}
	return checkpointNews
}

// outdates says that a status is about to be told with a checkpoint that is newer than the history of checkpoints which would be told with it.
func (w *watch) outdates(s *contract.JobStatus, now time.Time) bool {
	r, checkpoint := w.report, checkpointOf(s)
	r.Status, r.UnreachableSince = s, time.Time{}
	if checkpoint == w.historyCheckpoint {
		return false
	}
	_, tells := w.tells(gistOf(&r), checkpoint, now)
	return tells
}

func checkpointOf(s *contract.JobStatus) int64 {
	if s == nil || s.LastCheckpoint == nil {
		return 0
	}
	return s.LastCheckpoint.ID
}

// gistOf returns what matters of a report in a form that can be compared.
func gistOf(r *plan.Engine) string {
	g := gist{Unreachable: !r.UnreachableSince.IsZero()}
	if s := r.Status; s != nil {
		g.fill(s)
	}
	if r.Checkpoints != nil {
		g.CheckpointFail = newestFailure(r.Checkpoints)
	}
	b, err := json.Marshal(g)
	if err != nil { // a time outside of years 0 to 9999: then everything is news
		return err.Error() + r.Status.MeasuredAt.String()
	}
	return string(b)
}

func (g *gist) fill(s *contract.JobStatus) {
	g.JobID, g.State, g.Message = s.JobID, s.State, s.Message
	g.Epoch, g.Attempt, g.Restarts = s.Epoch, s.Attempt, s.Restarts
	g.MaxParallelism, g.SlotsNeeded, g.SlotsOffered = s.MaxParallelism, s.SlotsNeeded, s.SlotsOffered
	g.Workers, g.PolicyRevision, g.Warnings = len(s.Workers), s.PolicyRevision, s.Warnings
	g.Ready = s.Standby != nil && s.Standby.Ready
	if f := s.LastFailure; f != nil {
		g.Failure, g.FailedAt = f.Message, f.At
	}
	if f := s.RestoredFrom; f != nil {
		g.RestoredFrom = f.Path
	}
	if f := s.LastSavepoint; f != nil {
		g.Savepoint = f.ID
	}
	if f := s.Problem; f != nil {
		g.ProblemReason, g.Problem = f.Reason, f.Message
	}
	if len(s.Operations) > 0 {
		g.Operations = make(map[string]contract.OperationPhase, len(s.Operations))
		for i := range s.Operations {
			g.Operations[s.Operations[i].ID] = s.Operations[i].Phase
		}
	}
}

// newestFailure is which checkpoint failed and why, if the newest that ended did; empty when it did not. Those that were given up for another
// reason, such as a restart of the tasks, say nothing.
func newestFailure(c *contract.CheckpointsReport) string {
	for i := range c.Recent {
		switch r := &c.Recent[i]; {
		case r.State == "Failed" && (r.Counted || r.Reason == ""):
			return fmt.Sprintf("%d failed: %s", r.ID, r.Error)
		case r.State == "Completed":
			return ""
		}
	}
	return ""
}
