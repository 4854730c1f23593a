// SPDX-License-Identifier: Apache-2.0

package streamjob

import (
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
)

func TestMetrics_ShowEachStreamJob(t *testing.T) {
	m := NewMetrics()
	job := deployed()
	job.Status.Phase = streamv1.PhaseUpgrading
	job.Status.Job = &streamv1.JobReport{Restarts: 3}
	job.Status.LastCheckpoint = &streamv1.SnapshotReport{CompletedAt: metav1.NewTime(time.Unix(1900000000, 0))}
	job.Status.Operation = &streamv1.OperationReport{Type: streamv1.UpgradeOperation, Phase: streamv1.OperationSaving}
	job.Status.LastUpgrade = &streamv1.UpgradeReport{SaveMillis: 250}
	apimeta.SetStatusCondition(&job.Status.Conditions, metav1.Condition{Type: streamv1.ConditionReady, Status: metav1.ConditionTrue, Reason: "X"})
	m.update(job)
	want := `
		# HELP weir_streamjob_info 1 for each StreamJob, with its phase and the revision that is deployed.
		# TYPE weir_streamjob_info gauge
		weir_streamjob_info{namespace="ns",phase="Upgrading",revision="r",streamjob="words"} 1
		# HELP weir_streamjob_last_checkpoint_timestamp_seconds When the newest checkpoint that the operator has heard of was complete, in seconds since 1970.
		# TYPE weir_streamjob_last_checkpoint_timestamp_seconds gauge
		weir_streamjob_last_checkpoint_timestamp_seconds{namespace="ns",streamjob="words"} 1.9e+09
		# HELP weir_streamjob_last_upgrade_seconds How long the parts of the newest upgrade took: check, save, pods and restore.
		# TYPE weir_streamjob_last_upgrade_seconds gauge
		weir_streamjob_last_upgrade_seconds{namespace="ns",part="check",streamjob="words"} 0
		weir_streamjob_last_upgrade_seconds{namespace="ns",part="pods",streamjob="words"} 0
		weir_streamjob_last_upgrade_seconds{namespace="ns",part="restore",streamjob="words"} 0
		weir_streamjob_last_upgrade_seconds{namespace="ns",part="save",streamjob="words"} 0.25
		# HELP weir_streamjob_operation_info 1 while an operation is in flight, with its type and phase.
		# TYPE weir_streamjob_operation_info gauge
		weir_streamjob_operation_info{namespace="ns",phase="Saving",streamjob="words",type="Upgrade"} 1
		# HELP weir_streamjob_ready 1 when the condition Ready of the StreamJob is True, else 0.
		# TYPE weir_streamjob_ready gauge
		weir_streamjob_ready{namespace="ns",streamjob="words"} 1
		# HELP weir_streamjob_restarts_total How often the engine restarted the tasks in the life of the job.
		# TYPE weir_streamjob_restarts_total counter
		weir_streamjob_restarts_total{namespace="ns",streamjob="words"} 3
	`
	if err := testutil.CollectAndCompare(m, strings.NewReader(want)); err != nil {
		t.Error(err)
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
