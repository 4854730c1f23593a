// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
)

// deletion says how a StreamJob is deleted.
type deletion struct {
	savepoint, force bool
	// deadline is how long the savepoint is tried; 0: as the spec says.
	deadline time.Duration
}

// change is what is to be set in a spec before its StreamJob is deleted; nil: nothing.
func (o deletion) change(spec *streamv1.StreamJobSpec) map[string]any {
	out := map[string]any{}
	if o.savepoint && spec.DeletionPolicy != streamv1.SavepointOnDeletion {
		out["deletionPolicy"] = streamv1.SavepointOnDeletion
	}
	how := map[string]any{}
	if o.force && (spec.Deletion == nil || !spec.Deletion.Force) {
		how["force"] = true
	}
	if o.deadline > 0 && o.deadline != deadlineOf(spec) {
		how["deadline"] = o.deadline.String()
	}
	if len(how) > 0 {
		out["deletion"] = how
	}
	if len(out) == 0 {
		return nil
	}
	return out
}

// possible says why a StreamJob can't be deleted as asked; nil if it can.
func (o deletion) possible(job *streamv1.StreamJob) error {
	wanted := o.savepoint || job.Spec.DeletionPolicy == streamv1.SavepointOnDeletion
	if job.Status.Deployment == nil || !wanted || o.force || job.Spec.Deletion != nil && job.Spec.Deletion.Force || hasStorage(job) {
		return nil
	}
	if o.savepoint {
		return fmt.Errorf("StreamJob %s has no storage, so no savepoint can be taken before it is deleted: without --savepoint it is deleted with its state", job.Name)
	}
	return fmt.Errorf("StreamJob %s has no storage, so the savepoint of spec.deletionPolicy can't be taken before it is deleted: set the policy to Cancel to delete it with its state", job.Name)
}

// checkpoint asks for a checkpoint.
func (s *session) checkpoint(ctx context.Context) error {
	job, err := s.cluster.Get(ctx, s.name)
	if err != nil {
		return err
	}
	if err := notRunning(job, "a checkpoint"); err != nil {
		return err
	}
	trigger, err := s.app.nonce()
	if err != nil {
		return err
	}
	if job, err = s.cluster.Patch(ctx, s.name, map[string]any{"checkpoint": map[string]any{"trigger": trigger}}); err != nil {
		return err
	}
	if !s.wait {
		s.app.printf("checkpoint asked for: status.checkpointTrigger is %s once it is complete\n", trigger)
		return nil
	}
	return s.until(ctx, job.Generation, func(job *streamv1.StreamJob) (bool, error) {
		switch {
		case job.Status.CheckpointTrigger == trigger:
			if c := job.Status.LastCheckpoint; c != nil {
				s.app.printf("checkpoint %d completed\n", c.ID)
			}
			return true, nil
		case job.Spec.Checkpoint == nil || job.Spec.Checkpoint.Trigger != trigger:
			return false, errors.New("spec.checkpoint was changed by somebody else before the checkpoint was complete: ask again")
		default:
			return false, notRunning(job, "a checkpoint")
		}
	})
}

// notRunning says why nothing can be had of a job that needs a running one; nil when it runs, or will.
func notRunning(job *streamv1.StreamJob, what string) error {
	d := job.Status.Deployment
	switch state := job.Spec.State; {
	case d == nil && (state == streamv1.StateSuspended || state == streamv1.StateCancelled):
		return fmt.Errorf("StreamJob %s was not started (spec.state is %s), and %s needs a running job: weir resume %s starts it", job.Name, state, what, job.Name)
	case d == nil || d.Ended == "":
		return nil
	}
	return fmt.Errorf("StreamJob %s doesn't run (%s), and %s needs a running job", job.Name, strings.ToLower(string(d.Ended)), what)
}

// restart restarts the job.
func (s *session) restart(ctx context.Context) error {
	job, err := s.cluster.Get(ctx, s.name)
	if err != nil {
		return err
	}
	if state := job.Spec.State; state != "" && state != streamv1.StateRunning {
		return fmt.Errorf("StreamJob %s is not to run (spec.state is %s): weir resume %s runs it on", s.name, state, s.name)
	}
	nonce, err := s.app.nonce()
	if err != nil {
		return err
	}
	if job, err = s.cluster.Patch(ctx, s.name, map[string]any{"restartNonce": nonce}); err != nil {
		return err
	}
	if !s.wait {
		s.app.printf("restart asked for: status.restartNonce is %s once the job runs again\n", nonce)
		return nil
	}
	return s.until(ctx, job.Generation, func(job *streamv1.StreamJob) (bool, error) {
		switch r := job.Status.Rollback; {
		case job.Status.RestartNonce == nonce:
			s.printRestored(job)
			return true, nil
		case job.Spec.RestartNonce != nonce:
			return false, errors.New("spec.restartNonce was changed by somebody else before the job ran again")
		case r != nil && r.RestartNonce == nonce:
			return false, fmt.Errorf("the restarted version was rolled back: %s: %s", r.Reason, r.Message)
		case job.Status.Phase == streamv1.PhaseCompleted:
			return false, fmt.Errorf("StreamJob %s has read all its input, so there is nothing to restart", s.name)
		default:
			return false, nil
		}
	})
}

// cancel ends the job without a savepoint.
func (s *session) cancel(ctx context.Context) error {
	job, err := s.set(ctx, streamv1.StateCancelled, "cancel")
	if err != nil {
		return err
	}
	s.sayf("cancelling; %s", fate(job, fmt.Sprintf("weir resume %s goes on from them", s.name)))
	if !s.wait {
		s.app.printf("cancellation asked for\n")
		return nil
	}
	return s.until(ctx, job.Generation, func(job *streamv1.StreamJob) (bool, error) {
		switch job.Status.Phase {
		case streamv1.PhaseCancelled:
			s.app.printf("cancelled\n")
			return true, nil
		case streamv1.PhaseCompleted:
			return false, fmt.Errorf("StreamJob %s has read all its input, so there is nothing to cancel", s.name)
		default:
			return false, nil
		}
	})
}

// delete deletes the StreamJob.
func (s *session) delete(ctx context.Context, o deletion) error {
	job, err := s.cluster.Get(ctx, s.name)
	if err != nil {
		return err
	}
	if o.deadline > 0 && !o.savepoint && job.Spec.DeletionPolicy != streamv1.SavepointOnDeletion {
		return fmt.Errorf("--deadline says how long a savepoint is tried, and StreamJob %s is deleted without one: add --savepoint", s.name)
	}
	if err := o.possible(job); err != nil {
		return err
	}
	if change := o.change(&job.Spec); change != nil {
		if job, err = s.cluster.Patch(ctx, s.name, change); err != nil {
			return err
		}
	}
	s.sayf("deleting; %s", deletionFate(job))
	if err := s.cluster.Delete(ctx, job); err != nil {
		return err
	}
	if !s.wait {
		s.app.printf("deletion asked for\n")
		return nil
	}
	return s.gone(ctx, job)
}

// gone waits until a StreamJob is gone, and prints the path of the savepoint that was taken meanwhile.
func (s *session) gone(ctx context.Context, job *streamv1.StreamJob) error {
	s.seen = job
	before := job.Status.LastSavepoint
	err := s.cluster.Wait(ctx, s.name, func(now *streamv1.StreamJob) (bool, error) {
		if now == nil || now.UID != job.UID {
			return true, nil
		}
		s.seen = now
		s.sayf("%s", headline(now))
		return false, nil
	})
	if err != nil {
		return err
	}
	if last := s.seen.Status.LastSavepoint; last != nil && (before == nil || before.Path != last.Path) {
		s.app.printf("%s\n", last.Path)
		return nil
	}
	s.app.printf("deleted\n")
	return nil
}

// deletionFate says what deleting a job does to its state.
func deletionFate(job *streamv1.StreamJob) string {
	spec, left := &job.Spec, fate(job, "a StreamJob created again with this name and storage goes on from them")
	switch {
	case spec.Deletion != nil && spec.Deletion.Force:
		return "nothing is asked of its engine and its storage (spec.deletion.force), and all that is in storage stays"
	case spec.DeletionPolicy == streamv1.SavepointOnDeletion:
		if d := deadlineOf(spec); d > 0 {
			return fmt.Sprintf("a savepoint is taken first, unless it can't be within %v (spec.deletion.deadline); %s", d, left)
		}
		return "a savepoint is taken first; " + left
	default:
		return left
	}
}

// fate says what ending a job does to its state, and what goes on from it then.
func fate(job *streamv1.StreamJob, next string) string {
	c := job.Spec.Checkpointing
	switch {
	case !hasStorage(job):
		return "its state is in memory only and is lost"
	case c != nil && c.Retention != nil && c.Retention.OnCancel == streamv1.DeleteOnCancel:
		return "its checkpoints are deleted (spec.checkpointing.retention.onCancel is Delete), savepoints stay"
	default:
		return "its checkpoints and savepoints stay in storage, and " + next
	}
}

// deadlineOf is how long the savepoint of a deletion is tried; 0: for ever.
func deadlineOf(spec *streamv1.StreamJobSpec) time.Duration {
	if spec.Deletion == nil {
		return 0
	}
	return spec.Deletion.Deadline.Duration
}

// pause sets or removes the annotation that keeps the operator from acting.
func (s *session) pause(ctx context.Context, pause bool) error {
	var value any
	said := "unpaused"
	if pause {
		value, said = "true", "paused"
	}
	if err := s.cluster.Annotate(ctx, s.name, streamv1.AnnotationPaused, value); err != nil {
		return err
	}
	if !s.wait {
		s.app.printf("%s: the operator has not answered yet\n", said)
		return nil
	}
	return s.cluster.Wait(ctx, s.name, func(job *streamv1.StreamJob) (bool, error) {
		if job == nil {
			return false, fmt.Errorf("StreamJob %s was deleted meanwhile", s.name)
		}
		s.seen = job
		isPaused := slices.ContainsFunc(job.Status.Conditions, func(c metav1.Condition) bool { return c.Reason == streamv1.ReasonPaused })
		if isPaused == pause {
			s.app.printf("%s\n", said)
			return true, nil
		}
		s.sayf("waiting for the operator to see the annotation")
		return false, nil
	})
}
