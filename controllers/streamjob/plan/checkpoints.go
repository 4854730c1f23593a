// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"cmp"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
	"github.com/weir-stream/weir/runtime/contract"
)

// storagePatience is how long the coordinator may wait for its storage before that is told: one lost request is no news.
const storagePatience = 10 * time.Second

// reachPatience is how long a first version may try to get through to its storage before somebody is asked to look at it.
const reachPatience = 20 * time.Second

// hearCheckpoints takes over what the engine reports of checkpoints.
func (p *planner) hearCheckpoints() {
	h := p.o.Engine.Checkpoints
	if h == nil {
		return
	}
	out := &streamv1.CheckpointsReport{
		Completed: h.Completed, Failed: h.Failed, ConsecutiveFailures: int32(min(h.ConsecutiveFailures, 1<<30)),
	}
	if was := p.st.Checkpoints; was != nil { // they may have left the engine's bounded history
		out.Slowest, out.LastFailure = was.Slowest, was.LastFailure
	}
	if s := h.Summary; s != nil {
		out.StartDelayMillis = new(s.StartDelayMillis.P50)
		if s.Count > 1 { // nothing came before the first one
			out.IdleGapMillis = new(s.IdleGapMillis.P50)
		}
	}
	if r := newest(h, func(r *contract.CheckpointReport) bool { return r.State == "Completed" }); r != nil && r.Culprit != nil {
		c := r.Culprit
		out.Slowest = &streamv1.CheckpointCulprit{
			ID: r.ID, Phase: c.Phase, Task: Cut(cmp.Or(c.HeldUpBy, c.Task), maxText), DurationMillis: c.Millis, Message: cut(c.Text),
		}
	}
	if r := newest(h, fails); r != nil {
		out.LastFailure = &streamv1.CheckpointFailure{
			ID: r.ID, At: Seconds(r.TriggeredAt.Add(time.Duration(r.DurationMillis) * time.Millisecond)), Reason: r.Reason, Message: cut(r.Error),
		}
	}
	p.st.Checkpoints = out
}

// newest finds the newest checkpoint of a kind, savepoints left out.
func newest(h *contract.CheckpointsReport, is func(*contract.CheckpointReport) bool) *contract.CheckpointReport {
	for i := range h.Recent {
		if r := &h.Recent[i]; r.Kind == "Checkpoint" && is(r) {
			return r
		}
	}
	return nil
}

// fails says of a checkpoint that its failure is one of checkpoints: one that was given up because the job was restarted or a newer
// one completed first is none.
func fails(r *contract.CheckpointReport) bool {
	return r.State == "Failed" && (r.Counted || r.Reason == "") // an engine of an older version gives no reason
}

// failReasons are the condition reasons of the engine's.
var failReasons = map[string]string{
	"Expired":         streamv1.ReasonCheckpointExpired,
	"Declined":        streamv1.ReasonCheckpointDeclined,
	"AsyncFailure":    streamv1.ReasonCheckpointDeclined,
	"FinalizeFailure": streamv1.ReasonCheckpointNotWritten,
}

// outageText says how long the job may be down, if something bounds that.
func (p *planner) outageText() string {
	e := p.engine()
	if e == nil || e.MaxOutage == 0 {
		return ""
	}
	return fmt.Sprintf("The job may be down for %s; after that transactions of its sinks expire and what they hold is lost", e.MaxOutage)
}

func (p *planner) checkpointsCondition() {
	healthy := func(status metav1.ConditionStatus, reason, message string) {
		p.set(streamv1.ConditionCheckpointsHealthy, status, reason, cut(message))
	}
	spec := p.spec
	if live(p.st) { // what runs may be another version than the spec asks for
		spec = p.deployedSpec()
	}
	switch {
	case spec.Checkpointing == nil:
		healthy(metav1.ConditionUnknown, streamv1.ReasonCheckpointingDisabled, "")
		return
	case !p.runsOn() || !live(p.st) || !p.written():
		healthy(metav1.ConditionUnknown, streamv1.ReasonNotRunning, "")
		return
	}
	if t := p.engine().StorageTrouble; t != nil {
		left := storagePatience - p.now.Sub(t.Since)
		if left <= 0 {
			healthy(metav1.ConditionFalse, streamv1.ReasonStorageUnavailable, "No checkpoint can be committed, the tasks go on: "+t.Message)
			return
		}
		p.again(left)
	}
	if h := p.o.Engine.Checkpoints; h != nil {
		ended := newest(h, func(r *contract.CheckpointReport) bool { return r.State == "Completed" || fails(r) })
		switch {
		case ended == nil:
		case ended.State == "Completed":
			healthy(metav1.ConditionTrue, streamv1.ReasonCheckpointing, p.outageText())
			return
		default:
			text := fmt.Sprintf("Checkpoint %d failed: %s", ended.ID, ended.Error)
			if n := h.ConsecutiveFailures; n > 1 {
				text = fmt.Sprintf("Checkpoint %d failed, as %d before it: %s", ended.ID, n-1, ended.Error)
			}
			healthy(metav1.ConditionFalse, cmp.Or(failReasons[ended.Reason], streamv1.ReasonCheckpointsFailing), text)
			return
		}
	}
	// What a coordinator before this one completed counts, what an earlier version did doesn't.
	if c := p.st.LastCheckpoint; c != nil && (p.st.Restore == nil || c.ID > p.st.Restore.CheckpointID) {
		healthy(metav1.ConditionTrue, streamv1.ReasonCheckpointing, p.outageText())
		return
	}
	healthy(metav1.ConditionUnknown, streamv1.ReasonNoCheckpointYet, "")
}
