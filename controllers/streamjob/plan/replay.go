// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"slices"
	"time"

	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
	"github.com/weir-stream/weir/runtime/contract"
)

// began says that tasks of a revision were started from a snapshot.
func (p *planner) began(revision string) bool {
	return slices.ContainsFunc(p.was.History, func(h streamv1.HistoryEntry) bool { return h.Revision == revision && h.RestoredFrom != "" })
}

// replayOf returns how much of what the job had processed is processed again after a restore, as a time that is never too short: from the
// snapshot until the job was last known to run. It is nothing after a savepoint that stopped the job, unless a version has run since, which
// is rolled back; nil if when the job ran before isn't known: its state is that of another StreamJob, or an earlier one.
func (p *planner) replayOf(r *streamv1.RestoreReport, from *contract.SnapshotInfo) *int64 {
	switch {
	case r.EffectiveMode == modeRestoreFrom, r.EffectiveMode == modeAdopted, from.CompletedAt.IsZero():
		return nil
	case from.Stopped && r.RequestedMode != modeRollback:
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
	if b := p.was.Rollback; r.RequestedMode == modeRollback && b != nil && p.began(b.FromRevision) && b.At.After(until) {
		until = b.At.Time // what failed had begun to process, though it may never have been seen to run
	}
	return new(max(0, until.Sub(began)).Milliseconds())
}
