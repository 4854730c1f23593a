// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
	"github.com/weir-stream/weir/runtime/contract"
	"github.com/weir-stream/weir/runtime/program/human"
)

// status shows a StreamJob.
func (s *session) status(ctx context.Context, format string) error {
	job, err := s.cluster.Get(ctx, s.name)
	if err != nil {
		return err
	}
	if format != "" {
		job.ManagedFields = nil
		job.APIVersion, job.Kind = streamv1.SchemeGroupVersion.String(), "StreamJob"
		return printAs(s.app.Out, format, job)
	}
	pods, err := s.cluster.Pods(ctx, s.name)
	if err != nil {
		// Who may look at StreamJobs need not be allowed to look at pods.
		_, _ = fmt.Fprintf(s.app.Err, "weir: %v\n", err)
	}
	return printJob(s.app.Out, s.app.Now(), job, pods)
}

// jobPrinter writes the parts of a status.
type jobPrinter struct {
	w   *tabwriter.Writer
	now time.Time
	job *streamv1.StreamJob
}

// printJob shows a StreamJob and its pods for people.
func printJob(out io.Writer, now time.Time, job *streamv1.StreamJob, pods []corev1.Pod) error {
	p := &jobPrinter{w: tabwriter.NewWriter(out, 0, 0, 2, ' ', 0), now: now, job: job}
	p.summary()
	p.version()
	p.snapshots()
	p.operation()
	p.conditions()
	p.pods(pods)
	if err := p.w.Flush(); err != nil {
		return fmt.Errorf("printing the status: %w", err)
	}
	return nil
}

func (p *jobPrinter) linef(name, format string, args ...any) {
	_, _ = fmt.Fprintf(p.w, name+"\t"+format+"\n", args...)
}

func (p *jobPrinter) ago(t time.Time) string { return human.Duration(p.now.Sub(t)) + " ago" }

func (p *jobPrinter) summary() {
	st := &p.job.Status
	id := ""
	if st.Job != nil {
		id = st.Job.ID
	}
	p.linef("Job", "%s/%s (%s)", p.job.Namespace, p.job.Name, orDash(id))
	state := string(cmp.Or(st.Phase, streamv1.PhasePending))
	if st.ObservedGeneration < p.job.Generation {
		state += fmt.Sprintf(" (of generation %d; the operator has not looked at %d yet)", st.ObservedGeneration, p.job.Generation)
	}
	p.linef("State", "%s", state)
	if j := st.Job; j != nil {
		p.linef("Engine", "%s, epoch %s, %s", orDash(j.State), orDash(j.Epoch), human.Count(j.Restarts, "restart"))
		if f := j.LastFailure; f != nil {
			p.linef("Last failure", "%s: %s", p.ago(f.At.Time), oneLine(f.Message))
		}
	}
	parallelism := strconv.Itoa(int(st.Parallelism))
	if st.Parallelism == 0 {
		parallelism = "none runs yet"
	}
	if st.Job != nil && st.Job.MaxParallelism > 0 {
		parallelism += fmt.Sprintf(" of at most %d", st.Job.MaxParallelism)
	}
	p.linef("Parallelism", "%s", parallelism)
}

func (p *jobPrinter) version() {
	d := p.job.Status.Deployment
	if d == nil {
		p.linef("Version", "none was started yet")
		return
	}
	text := fmt.Sprintf("grant %d, revision %s, of generation %d", d.Grant, orDash(d.Revision), d.Generation)
	if d.Ended != "" {
		text += ", ended: " + string(d.Ended)
	}
	p.linef("Version", "%s", text)
	if r := p.job.Status.Restore; r != nil {
		p.linef("Started from", "%s", describeRestore(p.now, r))
	}
	if u := p.job.Status.LastUpgrade; u != nil {
		p.linef("Last upgrade", "%s", describeUpgrade(p.now, u))
	}
	p.stability()
}

// stability says whether the deployed version counts as stable, which one does, and what was rolled back.
func (p *jobPrinter) stability() {
	st := &p.job.Status
	switch s := st.Stability; {
	case s == nil:
	case s.Wanted == 0:
		text := "stable once it has run for a minute without a restart"
		if !s.Since.IsZero() {
			text += "; it runs since " + p.ago(s.Since.Time)
		}
		p.linef("Stability", "%s, %s since it was deployed", text, human.Count(int64(s.Restarts), "restart"))
	default:
		p.linef("Stability", "%d of %s without a restart, %s since it was deployed", s.Checkpoints, human.Count(int64(s.Wanted), "checkpoint"), human.Count(int64(s.Restarts), "restart"))
	}
	if s := st.LastStable; s != nil {
		text := fmt.Sprintf("grant %d, revision %s, of generation %d", s.Grant, orDash(s.Revision), s.Generation)
		if st.Deployment != nil && st.Deployment.Grant == s.Grant {
			text = "the deployed one"
		} else if st.Deployment != nil && st.Deployment.DiscardState != "" {
			text += ", no way back: the deployed one began without its state"
		}
		if !s.At.IsZero() {
			text += ", since " + p.ago(s.At.Time)
		}
		p.linef("Stable version", "%s", text)
	}
	if r := st.Rollback; r != nil {
		text := fmt.Sprintf("revision %s of generation %d to %s", orDash(r.FromRevision), r.FromGeneration, orDash(r.ToRevision))
		if r.Outcome != "" {
			text += ", " + strings.ToLower(string(r.Outcome))
		}
		if !r.At.IsZero() {
			text += ", " + p.ago(r.At.Time)
		}
		p.linef("Rolled back", "%s: %s", text, strings.TrimPrefix(r.Reason+": "+oneLine(r.Message), ": "))
	}
}

func describeRestore(now time.Time, r *streamv1.RestoreReport) string {
	text := cmp.Or(r.EffectiveMode, "not known yet")
	if r.Path != "" {
		text += fmt.Sprintf(", snapshot %d", r.CheckpointID)
		if !r.TakenAt.IsZero() {
			text += fmt.Sprintf(" taken %s ago", human.Duration(now.Sub(r.TakenAt.Time)))
		}
		if e := r.EstimatedReplayMillis; e != nil && *e > 0 {
			text += fmt.Sprintf(" (at most %s of processing done again)", human.Duration(time.Duration(*e)*time.Millisecond))
		}
		text += ", " + r.Path
	}
	if r.RequestedMode != "" && r.RequestedMode != r.EffectiveMode && r.RequestedMode != "Resume" {
		text += fmt.Sprintf(" (asked for: %s)", r.RequestedMode)
	}
	if r.Reason != "" {
		text += ": " + oneLine(r.Reason)
	}
	return text
}

func describeUpgrade(now time.Time, u *streamv1.UpgradeReport) string {
	text := fmt.Sprintf("%s to %s", orDash(u.FromRevision), orDash(u.ToRevision))
	if !u.CompletedAt.IsZero() {
		text += fmt.Sprintf(", %s ago, took %s", human.Duration(now.Sub(u.CompletedAt.Time)), human.Duration(u.CompletedAt.Sub(u.StartedAt.Time)))
	}
	warm := ""
	if u.WarmMillis > 0 {
		warm = ", warm " + millis(u.WarmMillis)
	}
	text += fmt.Sprintf(": check %s%s, save %s, pods %s, restore %s", millis(u.CheckMillis), warm, millis(u.SaveMillis), millis(u.PodsMillis), millis(u.RestoreMillis))
	if u.Path != "" {
		text += ", through " + u.Path
	}
	if u.CompletedAt.IsZero() {
		text += "; the new version has not run"
	}
	return text
}

func millis(n int64) string { return human.Duration(time.Duration(n) * time.Millisecond) }

func (p *jobPrinter) snapshots() {
	if c := p.job.Status.LastCheckpoint; c != nil {
		p.linef("Last checkpoint", "%s", describeReport(p.now, c))
	}
	if c := p.job.Status.LastSavepoint; c != nil {
		p.linef("Last savepoint", "%s", describeReport(p.now, c))
	}
	c := p.job.Status.Checkpoints
	if c == nil {
		return
	}
	text := fmt.Sprintf("%d completed, %d failed since the coordinator started (no older than 30s)", c.Completed, c.Failed)
	if c.ConsecutiveFailures > 0 {
		text += fmt.Sprintf(", the last %d in a row", c.ConsecutiveFailures)
	}
	p.linef("Checkpoints", "%s", text)
	if s := c.Slowest; s != nil {
		p.linef("", "slowest part of %d: %s", s.ID, oneLine(s.Message))
	}
	if f := c.LastFailure; f != nil {
		when := ""
		if !f.At.IsZero() {
			when = " " + p.ago(f.At.Time)
		}
		p.linef("", "%d failed%s: %s", f.ID, when, oneLine(f.Message))
	}
}

func describeReport(now time.Time, c *streamv1.SnapshotReport) string {
	return describeSnapshot(now, &contract.SnapshotInfo{
		ID: c.ID, CompletedAt: c.CompletedAt.Time, DurationMillis: c.DurationMillis, SizeBytes: c.SizeBytes, Path: c.Path,
	})
}

func (p *jobPrinter) operation() {
	op := p.job.Status.Operation
	if op == nil {
		return
	}
	text := fmt.Sprintf("%s, %s", op.Type, op.Phase)
	if !op.PhaseStartedAt.IsZero() {
		text += " for " + human.Duration(p.now.Sub(op.PhaseStartedAt.Time))
	}
	if op.Attempts > 1 {
		text += fmt.Sprintf(", try %d", op.Attempts)
	}
	if !op.StartedAt.IsZero() {
		text += ", began " + p.ago(op.StartedAt.Time)
	}
	if !op.RetryAt.IsZero() {
		text += ", next try in " + human.Duration(op.RetryAt.Sub(p.now))
	} else if !op.Deadline.IsZero() {
		text += ", given up in " + human.Duration(op.Deadline.Sub(p.now))
	}
	p.linef("Operation", "%s (%s)", text, op.ID)
	if op.Message != "" {
		p.linef("", "last try: %s", strings.TrimPrefix(op.Reason+": "+oneLine(op.Message), ": "))
	}
}

func (p *jobPrinter) conditions() {
	if len(p.job.Status.Conditions) == 0 {
		return
	}
	_, _ = fmt.Fprintf(p.w, "\nCONDITION\tSTATUS\tSINCE\tREASON\tMESSAGE\n")
	said := map[string]string{}
	for _, c := range p.job.Status.Conditions {
		message := orDash(oneLine(c.Message))
		if by := said[c.Message]; by != "" && c.Message != "" {
			message = "as " + by
		} else {
			said[c.Message] = c.Type
		}
		_, _ = fmt.Fprintf(p.w, "%s\t%s\t%s\t%s\t%s\n", c.Type, c.Status, human.Duration(p.now.Sub(c.LastTransitionTime.Time)), c.Reason, message)
	}
}

func (p *jobPrinter) pods(pods []corev1.Pod) {
	if len(pods) == 0 {
		return
	}
	slices.SortFunc(pods, func(a, b corev1.Pod) int { return cmp.Compare(a.Name, b.Name) })
	_, _ = fmt.Fprintf(p.w, "\nPOD\tCOMPONENT\tGRANT\tSTATE\tREADY\tRESTARTS\tAGE\n")
	for i := range pods {
		pod := &pods[i]
		ready, restarts := 0, 0
		for _, c := range pod.Status.ContainerStatuses {
			if c.Ready {
				ready++
			}
			restarts += int(c.RestartCount)
		}
		_, _ = fmt.Fprintf(p.w, "%s\t%s\t%s\t%s\t%d/%d\t%d\t%s\n", pod.Name, orDash(pod.Labels[streamv1.LabelComponent]), orDash(pod.Labels[streamv1.LabelGrant]),
			podState(pod), ready, len(pod.Spec.Containers), restarts, human.Duration(p.now.Sub(pod.CreationTimestamp.Time)))
	}
}

// podState is the phase of a pod, or what it waits for if that says more.
func podState(pod *corev1.Pod) string {
	if !pod.DeletionTimestamp.IsZero() {
		return "Terminating"
	}
	for _, c := range pod.Status.ContainerStatuses {
		if w := c.State.Waiting; w != nil && w.Reason != "" {
			return w.Reason
		}
	}
	return orDash(string(pod.Status.Phase))
}

// phaseText is the phase of an operation in a line of text.
func phaseText(p streamv1.OperationPhase) string {
	if p == streamv1.OperationCanceling {
		return "cancelling" // as everywhere else in what people read
	}
	return strings.ToLower(string(p))
}

// headline sums up in one line where a StreamJob is.
func headline(job *streamv1.StreamJob) string {
	text := string(cmp.Or(job.Status.Phase, streamv1.PhasePending))
	if op := job.Status.Operation; op != nil {
		text += fmt.Sprintf(", %s %s", strings.ToLower(string(op.Type)), phaseText(op.Phase))
		if op.Attempts > 1 {
			text += fmt.Sprintf(" (try %d)", op.Attempts)
		}
		if op.Message != "" {
			return text + ": " + oneLine(op.Message)
		}
		return text
	}
	if c := condition(job, streamv1.ConditionReady); c != nil && c.Status != metav1.ConditionTrue && c.Message != "" {
		text += ": " + oneLine(c.Message)
	}
	return text
}

func condition(job *streamv1.StreamJob, name string) *metav1.Condition {
	return apimeta.FindStatusCondition(job.Status.Conditions, name)
}

func isTrue(c *metav1.Condition) bool { return c != nil && c.Status == metav1.ConditionTrue }

func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }

func pathOf(r *streamv1.SnapshotReport) string {
	if r == nil {
		return "-"
	}
	return r.Path
}

func lastFailure(job *streamv1.StreamJob) string {
	if job.Status.Job == nil || job.Status.Job.LastFailure == nil {
		return "the engine gave no reason"
	}
	return job.Status.Job.LastFailure.Message
}
