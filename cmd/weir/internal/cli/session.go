// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
	"github.com/weir-stream/weir/cmd/weir/internal/cluster"
)

// session is one command about a StreamJob of a cluster.
type session struct {
	app     *App
	cluster *cluster.Cluster
	name    string
	wait    bool
	timeout time.Duration
	// said is the last line of progress, seen the StreamJob as it was last.
	said string
	seen *streamv1.StreamJob
}

// inCluster carries out a command about a StreamJob.
func (a *App) inCluster(c *cobra.Command, f *jobFlags, name string, do func(context.Context, *session) error) error {
	f.cluster.Warnings = a.Err
	open := a.Open
	if open == nil {
		open = cluster.Open
	}
	k, err := open(f.cluster)
	if err != nil {
		return err
	}
	ctx, cancel := a.bounded(c.Context(), f.timeout)
	defer cancel()
	s := &session{app: a, cluster: k, name: name, wait: !f.noWait, timeout: f.timeout}
	err = do(ctx, s)
	switch {
	case err == nil:
		return nil
	case errors.Is(context.Cause(ctx), errInterrupted):
		return errInterrupted
	case ctx.Err() != nil:
		return &timeoutError{err: fmt.Errorf("gave up waiting after %s, what was asked for may still happen: %s", f.timeout, s.state())}
	default:
		return err
	}
}

// say shows a line of progress, once.
func (s *session) sayf(format string, args ...any) {
	line := fmt.Sprintf(format, args...)
	if line == s.said {
		return
	}
	s.said = line
	_, _ = fmt.Fprintf(s.app.Err, "%s %s: %s\n", s.app.Now().Format(time.TimeOnly), s.name, line)
}

// state says where the job was when it was seen last.
func (s *session) state() string {
	switch {
	case s.seen == nil:
		return "the cluster did not answer"
	case s.seen.Status.ObservedGeneration < s.seen.Generation:
		return fmt.Sprintf("the operator has not looked at generation %d yet: see whether it runs, with kubectl get pods --namespace weir-system", s.seen.Generation)
	default:
		return headline(s.seen)
	}
}

// until waits for a StreamJob whose spec has at least the given generation, showing progress, until judge is content. A job that is gone or
// stalled ends it.
func (s *session) until(ctx context.Context, generation int64, judge cluster.Judge) error {
	return s.cluster.Wait(ctx, s.name, func(job *streamv1.StreamJob) (bool, error) {
		switch {
		case job == nil:
			return false, fmt.Errorf("StreamJob %s was deleted meanwhile", s.name)
		case !job.DeletionTimestamp.IsZero():
			return false, fmt.Errorf("StreamJob %s is being deleted", s.name)
		}
		s.seen = job
		if job.Status.ObservedGeneration < generation {
			s.sayf("waiting for the operator to look at generation %d", generation)
			return false, nil
		}
		if done, err := judge(job); done || err != nil {
			return done, err
		}
		s.sayf("%s", headline(job))
		if c := condition(job, streamv1.ConditionStalled); isTrue(c) && c.ObservedGeneration >= generation {
			return false, fmt.Errorf("the job is stalled: %s: %s", c.Reason, c.Message)
		}
		return false, nil
	})
}

// savepoint asks for a savepoint; target is nil to leave spec.savepoint.target as it is.
func (s *session) savepoint(ctx context.Context, target *string) error {
	job, err := s.cluster.Get(ctx, s.name)
	if err != nil {
		return err
	}
	if err := hasNoSavepoint(job); err != nil {
		return err
	}
	trigger, err := s.app.nonce()
	if err != nil {
		return err
	}
	want := map[string]any{"trigger": trigger}
	if target != nil {
		want["target"] = orNil(*target)
	}
	if job, err = s.cluster.Patch(ctx, s.name, map[string]any{"savepoint": want}); err != nil {
		return err
	}
	if !s.wait {
		s.app.printf("savepoint asked for: status.savepointTrigger is %s once it is complete\n", trigger)
		return nil
	}
	return s.until(ctx, job.Generation, func(job *streamv1.StreamJob) (bool, error) {
		switch {
		case job.Status.SavepointTrigger == trigger:
			s.app.printf("%s\n", pathOf(job.Status.LastSavepoint))
			return true, nil
		case job.Spec.Savepoint == nil || job.Spec.Savepoint.Trigger != trigger:
			return false, errors.New("spec.savepoint was changed by somebody else before the savepoint was complete: ask again")
		default:
			return false, hasNoSavepoint(job)
		}
	})
}

// hasNoSavepoint says why there can't be a savepoint of a job; nil when there can.
func hasNoSavepoint(job *streamv1.StreamJob) error {
	d := job.Status.Deployment
	switch {
	case d != nil && (d.Ended == streamv1.EndFinished || d.Ended == streamv1.EndFailed):
		return fmt.Errorf("StreamJob %s doesn't run any more (%s), and a savepoint needs a running job", job.Name, d.Ended)
	case d != nil && !hasStorage(job):
		return fmt.Errorf("StreamJob %s has no storage, so there are no savepoints of it: set spec.storage", job.Name)
	case d != nil && d.Ended == streamv1.EndStopped:
		return fmt.Errorf("StreamJob %s is suspended: %s is its newest savepoint", job.Name, pathOf(job.Status.LastSavepoint))
	case d != nil && d.Ended == streamv1.EndCancelled, job.Status.Phase == streamv1.PhaseCancelled, job.Spec.State == streamv1.StateCancelled:
		return fmt.Errorf("StreamJob %s is cancelled, and a savepoint needs a running job: weir resume %s runs it on", job.Name, job.Name)
	case d == nil && job.Spec.State == streamv1.StateSuspended:
		return fmt.Errorf("StreamJob %s is suspended and was not started yet, and a savepoint needs a running job: weir resume %s starts it", job.Name, job.Name)
	default:
		return nil
	}
}

// hasStorage says that a job has storage, of its own or by the configuration of the operator.
func hasStorage(job *streamv1.StreamJob) bool {
	e := job.Status.Effective
	return job.Spec.Storage != nil || e != nil && e.Storage != ""
}

// suspend stops the job with a savepoint.
func (s *session) suspend(ctx context.Context) error {
	job, err := s.set(ctx, streamv1.StateSuspended, "suspend")
	if err != nil {
		return err
	}
	if !s.wait {
		s.app.printf("suspension asked for\n")
		return nil
	}
	return s.until(ctx, job.Generation, func(job *streamv1.StreamJob) (bool, error) {
		switch job.Status.Phase {
		case streamv1.PhaseSuspended:
			s.printSuspended(job)
			return true, nil
		case streamv1.PhaseCompleted:
			return false, fmt.Errorf("StreamJob %s has read all its input, so there is nothing to suspend", s.name)
		case streamv1.PhaseCancelled:
			return false, fmt.Errorf("StreamJob %s is cancelled, so there is nothing to suspend: weir resume %s runs it on", s.name, s.name)
		case streamv1.PhaseFailed:
			return false, fmt.Errorf("StreamJob %s has failed, so there is nothing to suspend: %s", s.name, lastFailure(job))
		default:
			return false, nil
		}
	})
}

// printSuspended prints what a suspended job goes on from. Checkpoints and savepoints of a job are numbered together, so a checkpoint
// that is newer than the savepoint says that there was none: the coordinator didn't answer.
func (s *session) printSuspended(job *streamv1.StreamJob) {
	saved, checkpoint := job.Status.LastSavepoint, job.Status.LastCheckpoint
	switch {
	case saved == nil && (checkpoint == nil || checkpoint.Path == ""):
		s.sayf("suspended without any snapshot: it will start empty")
	case saved == nil || checkpoint != nil && checkpoint.ID > saved.ID:
		s.sayf("suspended without a savepoint: it will go on from its newest checkpoint")
		s.app.printf("%s\n", checkpoint.Path)
	default:
		s.app.printf("%s\n", saved.Path)
	}
}

// finished says that a job has read all its input. It is not run again.
func finished(job *streamv1.StreamJob) bool {
	d := job.Status.Deployment
	return d != nil && d.Ended == streamv1.EndFinished
}

// set writes spec.state, unless the job has finished: then there is nothing to do for the verb.
func (s *session) set(ctx context.Context, state streamv1.DesiredState, verb string) (*streamv1.StreamJob, error) {
	job, err := s.cluster.Get(ctx, s.name)
	if err != nil {
		return nil, err
	}
	if finished(job) {
		return nil, fmt.Errorf("StreamJob %s has read all its input, so there is nothing to %s", s.name, verb)
	}
	return s.cluster.Patch(ctx, s.name, map[string]any{"state": state})
}

// resume runs the job on.
func (s *session) resume(ctx context.Context) error {
	job, err := s.set(ctx, streamv1.StateRunning, "resume")
	if err != nil {
		return err
	}
	if !s.wait {
		s.app.printf("resumption asked for\n")
		return nil
	}
	return s.until(ctx, job.Generation, func(job *streamv1.StreamJob) (bool, error) {
		switch job.Status.Phase {
		case streamv1.PhaseRunning, streamv1.PhaseCompleted:
			s.sayf("%s", headline(job))
			s.printRestored(job)
			return true, nil
		case streamv1.PhaseFailed:
			return false, fmt.Errorf("StreamJob %s failed: %s", s.name, lastFailure(job))
		default:
			return false, nil
		}
	})
}

// printRestored prints the snapshot that a job went on from. Without one nothing is printed for a script to read.
func (s *session) printRestored(job *streamv1.StreamJob) {
	if r := job.Status.Restore; r != nil && r.Path != "" {
		s.app.printf("%s\n", r.Path)
		return
	}
	s.sayf("it began without state")
}

// checkpoints shows the history of checkpoints as the coordinator tells it.
func (s *session) checkpoints(ctx context.Context, f checkpointsFlags) error {
	job, err := s.cluster.Get(ctx, s.name)
	if err != nil {
		return err
	}
	api, err := s.cluster.ControlAPI(ctx, job)
	if err != nil {
		return err
	}
	defer api.Close()
	return s.app.showCheckpoints(ctx, api, f)
}

// nonce returns a value that no trigger of a spec ever had.
func (a *App) nonce() (string, error) {
	var b [4]byte
	if _, err := rand.Read(b[:]); err != nil {
		return "", fmt.Errorf("making a trigger: %w", err)
	}
	return a.Now().UTC().Format("20060102t150405z-") + hex.EncodeToString(b[:]), nil
}

func orNil(text string) any {
	if text == "" {
		return nil
	}
	return text
}
