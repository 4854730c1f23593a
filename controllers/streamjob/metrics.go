// SPDX-License-Identifier: Apache-2.0

package streamjob

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
)

// Metrics are the metrics of all StreamJobs, read off their statuses. It is a [prometheus.Collector], safe for concurrent use. A nil
// one keeps nothing.
type Metrics struct {
	info, ready, checkpoint, restarts, operation, upgrade *prometheus.Desc

	mu   sync.Mutex
	jobs map[types.NamespacedName]figures
}

var _ prometheus.Collector = (*Metrics)(nil)

// figures are what is shown of one StreamJob.
type figures struct {
	phase, revision string
	ready           bool
	checkpoint      time.Time
	restarts        int64
	operation       *streamv1.OperationReport
	upgrade         *streamv1.UpgradeReport
}

// NewMetrics returns metrics of no StreamJob yet.
func NewMetrics() *Metrics {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("weir_streamjob_"+name, help, append([]string{"namespace", "streamjob"}, labels...), nil)
	}
	return &Metrics{
		info:       desc("info", "1 for each StreamJob, with its phase and the revision that is deployed.", "phase", "revision"),
		ready:      desc("ready", "1 when the condition Ready of the StreamJob is True, else 0."),
		checkpoint: desc("last_checkpoint_timestamp_seconds", "When the newest checkpoint that the operator has heard of was complete, in seconds since 1970."),
		restarts:   desc("restarts_total", "How often the engine restarted the tasks in the life of the job."),
		operation:  desc("operation_info", "1 while an operation is in flight, with its type and phase.", "type", "phase"),
		upgrade:    desc("last_upgrade_seconds", "How long the parts of the newest upgrade took: check, save, pods and restore.", "part"),
		jobs:       map[types.NamespacedName]figures{},
	}
}

// Describe sends what metrics there are.
func (m *Metrics) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{m.info, m.ready, m.checkpoint, m.restarts, m.operation, m.upgrade} {
		ch <- d
	}
}

// Collect sends the metrics of each StreamJob.
func (m *Metrics) Collect(ch chan<- prometheus.Metric) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for key, f := range m.jobs {
		gauge := func(d *prometheus.Desc, v float64, labels ...string) {
			ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, append([]string{key.Namespace, key.Name}, labels...)...)
		}
		gauge(m.info, 1, f.phase, f.revision)
		gauge(m.ready, map[bool]float64{true: 1}[f.ready])
		ch <- prometheus.MustNewConstMetric(m.restarts, prometheus.CounterValue, float64(f.restarts), key.Namespace, key.Name)
		if !f.checkpoint.IsZero() {
			gauge(m.checkpoint, float64(f.checkpoint.UnixMilli())/1000)
		}
		if o := f.operation; o != nil {
			gauge(m.operation, 1, string(o.Type), string(o.Phase))
		}
		if u := f.upgrade; u != nil {
			for part, millis := range map[string]int64{"check": u.CheckMillis, "save": u.SaveMillis, "pods": u.PodsMillis, "restore": u.RestoreMillis} {
				gauge(m.upgrade, float64(millis)/1000, part)
			}
		}
	}
}

// update takes the status of a StreamJob up.
func (m *Metrics) update(job *streamv1.StreamJob) {
	if m == nil {
		return
	}
	status := job.Status.DeepCopy()
	f := figures{
		phase: string(status.Phase), ready: apimeta.IsStatusConditionTrue(status.Conditions, streamv1.ConditionReady),
		operation: status.Operation, upgrade: status.LastUpgrade,
	}
	if status.Deployment != nil {
		f.revision = status.Deployment.Revision
	}
	if status.LastCheckpoint != nil {
		f.checkpoint = status.LastCheckpoint.CompletedAt.Time
	}
	if status.Job != nil {
		f.restarts = status.Job.Restarts
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.jobs[types.NamespacedName{Namespace: job.Namespace, Name: job.Name}] = f
}

// drop drops those of a StreamJob that is gone.
func (m *Metrics) drop(key types.NamespacedName) {
	if m == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.jobs, key)
}
