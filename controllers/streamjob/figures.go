// SPDX-License-Identifier: Apache-2.0

package streamjob

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
)

// upgradeBuckets are the upper bounds of the histograms of upgrades, in seconds.
var upgradeBuckets = []float64{0.25, 0.5, 1, 2, 4, 8, 15, 30, 60, 120, 300, 600}

// figures are what is known and counted of one StreamJob.
type figures struct {
	uid      types.UID
	status   *streamv1.StreamJobStatus
	paused   bool
	interval time.Duration

	// ran says that all tasks of some version have run, down how long they did not since, downSince since when they do
	// not now; zero while they do.
	ran       bool
	down      time.Duration
	downSince time.Time

	rollbacks int
	restores  map[origin]int
	// upgrades are the histograms by part; none before the first upgrade.
	upgrades map[string]*histogram
}

// origin is where a version took its state from.
type origin struct{ requested, effective string }

// newFigures starts with what the status of a StreamJob tells already.
func newFigures(job *streamv1.StreamJob) *figures {
	st := job.Status.DeepCopy()
	return &figures{
		uid: job.UID, status: st, ran: st.LastCheckpoint != nil || st.LastStable != nil,
		// One that people want to hear of is there from the beginning, at zero, so that its first rise is seen.
		restores: map[origin]int{{string(streamv1.UpgradeFromSavepoint), string(streamv1.UpgradeFromLastCheckpoint)}: 0},
	}
}

// take takes over what a StreamJob is like now, and counts what is new in it.
func (f *figures) take(job *streamv1.StreamJob, now time.Time) {
	was, st := f.status, job.Status.DeepCopy()
	f.status = st
	f.paused = job.Annotations[streamv1.AnnotationPaused] == "true"
	f.interval = intervalOf(job)
	f.countDown(job, now)
	if st.Rollback != nil && (was.Rollback == nil || !was.Rollback.At.Equal(&st.Rollback.At)) {
		f.rollbacks++
	}
	if r := restored(st); r != (restore{}) && r != restored(was) {
		f.restores[r.origin]++
	}
	f.countUpgrade(was, st)
}

// intervalOf returns the interval of checkpoints: the one in force, which the operator's configuration may have set, or that of the spec; 0 for none.
func intervalOf(job *streamv1.StreamJob) time.Duration {
	if e := job.Status.Effective; e != nil && e.CheckpointInterval != "" {
		if d, err := time.ParseDuration(e.CheckpointInterval); err == nil {
			return d
		}
	}
	if c := job.Spec.Checkpointing; c != nil {
		return c.Interval.Duration
	}
	return 0
}

// countDown counts the time in which a job that should run doesn't.
func (f *figures) countDown(job *streamv1.StreamJob, now time.Time) {
	running := f.is(streamv1.ConditionRunning)
	f.ran = f.ran || running
	wanted := job.DeletionTimestamp.IsZero() && (job.Spec.State == "" || job.Spec.State == streamv1.StateRunning) && !f.is(streamv1.ConditionCompleted)
	switch isDown := f.ran && wanted && !running; {
	case isDown && f.downSince.IsZero():
		f.downSince = now
	case !isDown && !f.downSince.IsZero():
		f.down += now.Sub(f.downSince)
		f.downSince = time.Time{}
	}
}

// countUpgrade counts the newest upgrade once. The histograms are there from its beginning on, at zero, so that their first rise is seen.
func (f *figures) countUpgrade(was, st *streamv1.StreamJobStatus) {
	begins := st.Operation != nil && st.Operation.Type == streamv1.UpgradeOperation
	u := st.LastUpgrade
	ended := u != nil && !u.CompletedAt.IsZero() && (was.LastUpgrade == nil || !was.LastUpgrade.CompletedAt.Equal(&u.CompletedAt))
	if (begins || ended) && f.upgrades == nil {
		f.upgrades = map[string]*histogram{}
		for _, p := range upgradeParts(&streamv1.UpgradeReport{}) {
			f.upgrades[p.name] = &histogram{}
		}
		f.upgrades[wholeUpgrade] = &histogram{}
	}
	if !ended {
		return
	}
	for _, p := range upgradeParts(u) {
		f.upgrades[p.name].observe(p.seconds)
	}
	f.upgrades[wholeUpgrade].observe(u.CompletedAt.Sub(u.StartedAt.Time).Seconds())
}

// wholeUpgrade stands for all of an upgrade: from the edit that was seen until the new version ran.
const wholeUpgrade = "total"

// part is a part of an upgrade.
type part struct {
	name    string
	seconds float64
}

// upgradeParts returns how long the parts of an upgrade took, in their order.
func upgradeParts(u *streamv1.UpgradeReport) []part {
	return []part{
		{"check", seconds(u.CheckMillis)}, {"warm", seconds(u.WarmMillis)}, {"save", seconds(u.SaveMillis)}, {"pods", seconds(u.PodsMillis)}, {"restore", seconds(u.RestoreMillis)},
	}
}

func seconds(millis int64) float64 { return float64(millis) / 1000 }

// is says whether a condition is True.
func (f *figures) is(condition string) bool {
	return apimeta.IsStatusConditionTrue(f.status.Conditions, condition)
}

// blocked returns why the StreamJob doesn't get on: it is stalled, a try failed and the next one is waited for, something that the operator does is refused, or nobody knows
// what becomes of the savepoint before its deletion.
func (f *figures) blocked() string {
	c := apimeta.FindStatusCondition(f.status.Conditions, streamv1.ConditionStalled)
	r := apimeta.FindStatusCondition(f.status.Conditions, streamv1.ConditionReconciling)
	switch op := f.status.Operation; {
	case c != nil && c.Status == metav1.ConditionTrue:
		return c.Reason
	case op != nil && op.Phase == streamv1.OperationWaiting:
		return op.Reason
	case op != nil && op.Phase == streamv1.OperationCanceling && op.Reason != streamv1.ReasonDeletionDeadline:
		return op.Reason
	case r != nil && r.Status == metav1.ConditionTrue && r.Reason == streamv1.ReasonActionFailed:
		return r.Reason
	default:
		return ""
	}
}

// restore is a start of a version.
type restore struct {
	grant int64
	origin
}

// restored returns how the deployed version started; the zero value before that is known.
func restored(st *streamv1.StreamJobStatus) restore {
	if st.Restore == nil || st.Restore.EffectiveMode == "" || st.Deployment == nil {
		return restore{}
	}
	return restore{st.Deployment.Grant, origin{st.Restore.RequestedMode, st.Restore.EffectiveMode}}
}

// histogram counts observations by [upgradeBuckets].
type histogram struct {
	count   uint64
	sum     float64
	buckets [12]uint64
}

func (h *histogram) observe(v float64) {
	h.count++
	h.sum += v
	for i, bound := range upgradeBuckets {
		if v <= bound {
			h.buckets[i]++
		}
	}
}

// sink sends the metrics of one StreamJob.
type sink struct {
	ch  chan<- prometheus.Metric
	d   *descriptions
	key types.NamespacedName
}

func (s *sink) send(d *prometheus.Desc, kind prometheus.ValueType, v float64, labels ...string) {
	s.ch <- prometheus.MustNewConstMetric(d, kind, v, append([]string{s.key.Namespace, s.key.Name}, labels...)...)
}

func (s *sink) gauge(d *prometheus.Desc, v float64, labels ...string) {
	s.send(d, prometheus.GaugeValue, v, labels...)
}

func (s *sink) flag(d *prometheus.Desc, is bool) {
	s.gauge(d, map[bool]float64{true: 1}[is])
}

// state sends what the StreamJob is like.
func (s *sink) state(f *figures) {
	st := f.status
	revision := ""
	if st.Deployment != nil {
		revision = st.Deployment.Revision
	}
	s.gauge(s.d.info, 1, string(st.Phase), revision)
	s.flag(s.d.ready, f.is(streamv1.ConditionReady))
	s.flag(s.d.running, f.is(streamv1.ConditionRunning))
	s.flag(s.d.stable, st.Deployment != nil && st.LastStable != nil && st.LastStable.Grant == st.Deployment.Grant)
	s.flag(s.d.paused, f.paused)
	if reason := f.blocked(); reason != "" {
		s.gauge(s.d.blocked, 1, reason)
	}
	if f.is(streamv1.ConditionRolledBack) {
		reason := ""
		if st.Rollback != nil {
			reason = st.Rollback.Reason
		}
		s.gauge(s.d.rolledBack, 1, reason)
	}
	if op := st.Operation; op != nil {
		s.gauge(s.d.operation, 1, string(op.Type), string(op.Phase))
	}
	if u := st.LastUpgrade; u != nil {
		for _, p := range upgradeParts(u) {
			s.gauge(s.d.upgrade, p.seconds, p.name)
		}
	}
	if r := st.Restore; r != nil && !r.TakenAt.IsZero() {
		s.gauge(s.d.snapshotAge, seconds(r.AgeMillis))
		if r.EstimatedReplayMillis != nil {
			s.gauge(s.d.replay, seconds(*r.EstimatedReplayMillis))
		}
	}
}

// checkpoints sends how checkpoints go.
func (s *sink) checkpoints(f *figures) {
	if f.interval > 0 {
		s.gauge(s.d.interval, f.interval.Seconds())
	}
	if c := apimeta.FindStatusCondition(f.status.Conditions, streamv1.ConditionCheckpointsHealthy); c != nil && c.Status != metav1.ConditionUnknown {
		s.flag(s.d.checkpointsHealthy, c.Status == metav1.ConditionTrue)
	}
	if c := f.status.LastCheckpoint; c != nil {
		s.gauge(s.d.checkpoint, float64(c.CompletedAt.UnixMilli())/1000)
		s.gauge(s.d.checkpointSeconds, seconds(c.DurationMillis))
		s.gauge(s.d.checkpointBytes, float64(c.SizeBytes))
	}
	if c := f.status.Checkpoints; c != nil {
		s.send(s.d.checkpoints, prometheus.CounterValue, float64(c.Completed), "completed")
		s.send(s.d.checkpoints, prometheus.CounterValue, float64(c.Failed), "failed")
	}
}

// counts sends what was counted.
func (s *sink) counts(f *figures, now time.Time) {
	restarts, replayed := int64(0), int64(0)
	if j := f.status.Job; j != nil {
		restarts, replayed = j.Restarts, j.RecordsReplayed
	}
	s.send(s.d.restarts, prometheus.CounterValue, float64(restarts))
	s.send(s.d.replayed, prometheus.CounterValue, float64(replayed))
	s.send(s.d.rollbacks, prometheus.CounterValue, float64(f.rollbacks))
	down := f.down
	if !f.downSince.IsZero() {
		down += now.Sub(f.downSince)
	}
	s.send(s.d.downtime, prometheus.CounterValue, down.Seconds())
	for o, n := range f.restores {
		s.send(s.d.restores, prometheus.CounterValue, float64(n), o.requested, o.effective)
	}
	for name, h := range f.upgrades {
		buckets := make(map[float64]uint64, len(upgradeBuckets))
		for i, bound := range upgradeBuckets {
			buckets[bound] = h.buckets[i]
		}
		s.ch <- prometheus.MustNewConstHistogram(s.d.upgrades, h.count, h.sum, buckets, s.key.Namespace, s.key.Name, name)
	}
}
