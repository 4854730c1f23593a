// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"time"

	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
	"github.com/weir-stream/weir/runtime/contract"
)

// replayOf returns how much of what the job had processed is processed again after a restore, as a time that is never too short: from the
// snapshot until the job was last known to run, or a version that had begun from the same snapshot was given up. It is nothing after a
// savepoint that stopped the job, unless there was such a version; nil if when the job ran before isn't known: its state is that of another
// StreamJob, or an earlier one.
func (p *planner) replayOf(r *streamv1.RestoreReport, from *contract.SnapshotInfo) *int64 {
	if r.EffectiveMode == modeRestoreFrom || r.EffectiveMode == modeAdopted || from.CompletedAt.IsZero() {
		return nil
	}
	tried := p.triedUntil(from.Path)
	if from.Stopped && tried.IsZero() {
		return new(int64(0))
	}
	began := from.CompletedAt // what is in it is what came before its barriers
	if c := p.was.LastCheckpoint; c != nil && c.ID == from.ID {
		began = began.Add(-time.Duration(c.DurationMillis) * time.Millisecond)
	}
	until := p.now
	if c := apimeta.FindStatusCondition(p.was.Conditions, streamv1.ConditionRunning); c != nil && c.Status != metav1.ConditionTrue {
		until = c.LastTransitionTime.Time
	}
	if tried.After(until) {
		until = tried
	}
	return new(max(0, until.Sub(began)).Milliseconds())
}

// triedUntil is when the last version before the deployed one was given up whose tasks had begun from a snapshot, though they may never all
// have run; zero if there was none.
func (p *planner) triedUntil(path string) time.Time {
	var until time.Time
	for i := range p.was.History {
		h := &p.was.History[i]
		if h.RestoredFrom == path && h.Grant != p.was.Deployment.Grant && h.EndedAt.After(until) {
			until = h.EndedAt.Time
		}
	}
	return until
}
