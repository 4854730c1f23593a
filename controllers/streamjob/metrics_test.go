// SPDX-License-Identifier: Apache-2.0

package streamjob

import (
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/common/expfmt"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clocktesting "k8s.io/utils/clock/testing"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
)

var metricsStart = time.Unix(1900000000, 0)

// exported returns the samples whose names start with one of the prefixes, one a line, without help and types.
func exported(t *testing.T, m *Metrics, prefixes ...string) string {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	if err := registry.Register(m); err != nil {
		t.Fatal(err)
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatalf("the metrics are not consistent: %v", err)
	}
	var text strings.Builder
	for _, family := range families {
		if _, err := expfmt.MetricFamilyToText(&text, family); err != nil {
			t.Fatal(err)
		}
	}
	var b strings.Builder
	for line := range strings.Lines(text.String()) {
		for _, p := range prefixes {
			if strings.HasPrefix(line, "weir_streamjob_"+p) {
				b.WriteString(strings.Replace(strings.TrimPrefix(line, "weir_streamjob_"), `namespace="ns",`, "", 1))
			}
		}
	}
	return b.String()
}

func setCondition(job *streamv1.StreamJob, name string, status metav1.ConditionStatus, reason string) {
	apimeta.SetStatusCondition(&job.Status.Conditions, metav1.Condition{Type: name, Status: status, Reason: reason})
}

func TestMetrics_ShowEachStreamJob(t *testing.T) {
	m := newMetrics(clocktesting.NewFakePassiveClock(metricsStart))
	job := deployed()
	job.Annotations = map[string]string{streamv1.AnnotationPaused: "true"}
	job.Spec.Checkpointing = &streamv1.Checkpointing{Interval: metav1.Duration{Duration: 10 * time.Second}}
	st := &job.Status
	st.Phase = streamv1.PhaseUpgrading
	st.Job = &streamv1.JobReport{Restarts: 3, RecordsReplayed: 500}
	st.LastCheckpoint = &streamv1.SnapshotReport{CompletedAt: metav1.NewTime(metricsStart), DurationMillis: 1500, SizeBytes: 4096}
	st.Checkpoints = &streamv1.CheckpointsReport{Completed: 17, Failed: 2}
	st.Operation = &streamv1.OperationReport{Type: streamv1.UpgradeOperation, Phase: streamv1.OperationWaiting, Reason: streamv1.ReasonSavepointFailed}
	st.LastUpgrade = &streamv1.UpgradeReport{WarmMillis: 2000, SaveMillis: 250}
	st.LastStable = &streamv1.StableReport{Grant: st.Deployment.Grant}
	st.Rollback = &streamv1.RollbackReport{Reason: streamv1.ReasonCrashLoop}
	st.Restore = &streamv1.RestoreReport{TakenAt: metav1.NewTime(metricsStart.Add(-time.Minute)), AgeMillis: 40_000, EstimatedReplayMillis: new(int64(2500))}
	setCondition(job, streamv1.ConditionReady, metav1.ConditionTrue, "X")
	setCondition(job, streamv1.ConditionRolledBack, metav1.ConditionTrue, "X")
	setCondition(job, streamv1.ConditionCheckpointsHealthy, metav1.ConditionFalse, "X")
	m.update(job)
	want := `blocked{reason="SavepointFailed",streamjob="words"} 1
checkpoint_interval_seconds{streamjob="words"} 10
checkpoints_healthy{streamjob="words"} 0
checkpoints_total{outcome="completed",streamjob="words"} 17
checkpoints_total{outcome="failed",streamjob="words"} 2
downtime_seconds_total{streamjob="words"} 0
info{phase="Upgrading",revision="r",streamjob="words"} 1
last_checkpoint_duration_seconds{streamjob="words"} 1.5
last_checkpoint_size_bytes{streamjob="words"} 4096
last_checkpoint_timestamp_seconds{streamjob="words"} 1.9e+09
last_upgrade_seconds{part="check",streamjob="words"} 0
last_upgrade_seconds{part="pods",streamjob="words"} 0
last_upgrade_seconds{part="restore",streamjob="words"} 0
last_upgrade_seconds{part="save",streamjob="words"} 0.25
last_upgrade_seconds{part="warm",streamjob="words"} 2
operation_info{phase="Waiting",streamjob="words",type="Upgrade"} 1
paused{streamjob="words"} 1
ready{streamjob="words"} 1
records_replayed_total{streamjob="words"} 500
restarts_total{streamjob="words"} 3
restore_age_seconds{streamjob="words"} 40
restore_replay_seconds{streamjob="words"} 2.5
restores_total{effective="LastCheckpoint",requested="Savepoint",streamjob="words"} 0
rollbacks_total{streamjob="words"} 0
rolled_back{reason="CrashLoop",streamjob="words"} 1
running{streamjob="words"} 0
stable{streamjob="words"} 1
`
	got := exported(t, m, "b", "c", "d", "i", "l", "o", "p", "r", "s")
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if problems, err := testutil.CollectAndLint(m); err != nil || len(problems) > 0 {
		t.Errorf("linting the metrics: %v, %v", problems, err)
	}
	m.drop(wordsKey)
	if n := testutil.CollectAndCount(m); n != 0 {
		t.Errorf("%d metrics are left of a StreamJob that is gone", n)
	}
	var none *Metrics
	none.update(job)
	none.drop(wordsKey)
}

func TestMetrics_ADeletionWaitsForItsSavepoint(t *testing.T) {
	for reason, want := range map[string]string{
		"": "", streamv1.ReasonDeletionDeadline: "",
		streamv1.ReasonCoordinatorUnreachable: "blocked{reason=\"CoordinatorUnreachable\",streamjob=\"words\"} 1\n",
	} {
		m, job := NewMetrics(), deployed()
		job.Status.Operation = &streamv1.OperationReport{Type: streamv1.CancelOperation, Phase: streamv1.OperationCanceling, Reason: reason}
		m.update(job)
		if got := exported(t, m, "blocked"); got != want {
			t.Errorf("with reason %q: got %q, want %q", reason, got, want)
		}
	}
}

func TestMetrics_CountEachRollbackOnce(t *testing.T) {
	m := NewMetrics()
	job := deployed()
	job.Status.Rollback = &streamv1.RollbackReport{At: metav1.NewTime(metricsStart)}
	m.update(job) // what was there before the operator was counted by the one before
	m.update(job)
	if got, want := exported(t, m, "rollbacks"), "rollbacks_total{streamjob=\"words\"} 0\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	job.Status.Rollback = nil
	m.update(job)
	job.Status.Rollback = &streamv1.RollbackReport{At: metav1.NewTime(metricsStart.Add(time.Minute))}
	m.update(job)
	job.Status.Rollback.CompletedAt = metav1.NewTime(metricsStart.Add(2 * time.Minute))
	m.update(job)
	if got, want := exported(t, m, "rollbacks"), "rollbacks_total{streamjob=\"words\"} 1\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	job.UID = "another"
	m.update(job)
	if got, want := exported(t, m, "rollbacks"), "rollbacks_total{streamjob=\"words\"} 0\n"; got != want {
		t.Errorf("of another StreamJob of the same name: got %q, want %q", got, want)
	}
}

func TestMetrics_CountRestoresByEffectiveMode(t *testing.T) {
	m := NewMetrics()
	job := deployed()
	start := func(grant int64, effective string) {
		job.Status.Deployment.Grant = grant
		job.Status.Restore = &streamv1.RestoreReport{RequestedMode: "Savepoint"}
		m.update(job)
		job.Status.Restore.EffectiveMode = effective
		m.update(job)
		m.update(job)
	}
	start(2, "Savepoint")
	start(3, "LastCheckpoint")
	start(4, "Savepoint")
	want := `restores_total{effective="LastCheckpoint",requested="Savepoint",streamjob="words"} 1
restores_total{effective="Savepoint",requested="Savepoint",streamjob="words"} 2
`
	got := exported(t, m, "restores")
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestMetrics_CountUpgrades(t *testing.T) {
	m := NewMetrics()
	job := deployed()
	done := func(at time.Time) *streamv1.UpgradeReport {
		return &streamv1.UpgradeReport{
			StartedAt: metav1.NewMicroTime(at.Add(-3 * time.Second)), CompletedAt: metav1.NewMicroTime(at),
			CheckMillis: 1000, SaveMillis: 300, PodsMillis: 600, RestoreMillis: 100,
		}
	}
	job.Status.LastUpgrade = done(metricsStart)
	m.update(job)
	if got := exported(t, m, "upgrade_seconds"); got != "" {
		t.Errorf("an upgrade of the time before the operator was counted:\n%s", got)
	}
	job.Status.Operation = &streamv1.OperationReport{Type: streamv1.UpgradeOperation, Phase: streamv1.OperationChecking}
	m.update(job)
	if got, want := exported(t, m, "upgrade_seconds_count"), "upgrade_seconds_count{part=\"total\",streamjob=\"words\"} 0\n"; !strings.Contains(got, want) {
		t.Errorf("while the first one is under way: got\n%s\nwant in it\n%s", got, want)
	}
	job.Status.Operation, job.Status.LastUpgrade = nil, done(metricsStart.Add(time.Hour))
	m.update(job)
	m.update(job)
	want := `upgrade_seconds_count{part="check",streamjob="words"} 1
upgrade_seconds_count{part="pods",streamjob="words"} 1
upgrade_seconds_count{part="restore",streamjob="words"} 1
upgrade_seconds_count{part="save",streamjob="words"} 1
upgrade_seconds_count{part="total",streamjob="words"} 1
upgrade_seconds_count{part="warm",streamjob="words"} 1
`
	if got := exported(t, m, "upgrade_seconds_count"); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	all := exported(t, m, "upgrade_seconds_bucket", "upgrade_seconds_sum")
	for _, want := range []string{
		`upgrade_seconds_sum{part="total",streamjob="words"} 3`,
		`upgrade_seconds_bucket{part="save",streamjob="words",le="0.25"} 0`, `upgrade_seconds_bucket{part="save",streamjob="words",le="0.5"} 1`,
		`upgrade_seconds_bucket{part="total",streamjob="words",le="+Inf"} 1`,
	} {
		if !strings.Contains(all, want+"\n") {
			t.Errorf("%s is missing in\n%s", want, all)
		}
	}
}

func TestMetrics_CountDowntime(t *testing.T) {
	running := func(is metav1.ConditionStatus) func(*streamv1.StreamJob) {
		return func(job *streamv1.StreamJob) { setCondition(job, streamv1.ConditionRunning, is, "X") }
	}
	state := func(s streamv1.DesiredState) func(*streamv1.StreamJob) {
		return func(job *streamv1.StreamJob) { job.Spec.State = s }
	}
	completed := func(job *streamv1.StreamJob) {
		setCondition(job, streamv1.ConditionRunning, metav1.ConditionFalse, "X")
		setCondition(job, streamv1.ConditionCompleted, metav1.ConditionTrue, "X")
	}
	tests := map[string]struct {
		// steps are ten seconds apart, and so is the look at the metrics from the last one.
		steps []func(*streamv1.StreamJob)
		want  string
	}{
		"it never ran":               {[]func(*streamv1.StreamJob){running(metav1.ConditionFalse), running(metav1.ConditionTrue)}, "0"},
		"it runs again":              {[]func(*streamv1.StreamJob){running(metav1.ConditionTrue), running(metav1.ConditionFalse), running(metav1.ConditionTrue)}, "10"},
		"it is still down":           {[]func(*streamv1.StreamJob){running(metav1.ConditionTrue), running(metav1.ConditionFalse), running(metav1.ConditionUnknown)}, "20"},
		"it is suspended, then down": {[]func(*streamv1.StreamJob){running(metav1.ConditionTrue), state(streamv1.StateSuspended), running(metav1.ConditionFalse), state(streamv1.StateRunning)}, "10"},
		"it has read all":            {[]func(*streamv1.StreamJob){running(metav1.ConditionTrue), completed, completed}, "0"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			c := clocktesting.NewFakePassiveClock(metricsStart)
			m := newMetrics(c)
			job := deployed()
			job.Status.LastCheckpoint = nil
			for _, step := range tc.steps {
				step(job)
				m.update(job)
				c.SetTime(c.Now().Add(10 * time.Second))
			}
			if got, want := exported(t, m, "downtime"), "downtime_seconds_total{streamjob=\"words\"} "+tc.want+"\n"; got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
}

func TestMetrics_TakeTheIntervalInForce(t *testing.T) {
	m := NewMetrics()
	job := deployed()
	m.update(job)
	if got := exported(t, m, "checkpoint_interval"); got != "" {
		t.Errorf("without checkpoints: %s", got)
	}
	job.Status.Effective = &streamv1.EffectiveReport{CheckpointInterval: "1m30s"}
	m.update(job)
	if got, want := exported(t, m, "checkpoint_interval"), "checkpoint_interval_seconds{streamjob=\"words\"} 90\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
