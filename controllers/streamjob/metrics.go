// SPDX-License-Identifier: Apache-2.0

package streamjob

import (
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
)

// Metrics are the metrics of all StreamJobs, read off their specs and statuses. It is a [prometheus.Collector], safe for concurrent
// use. A nil one keeps nothing.
//
// Gauges say what a StreamJob is like now. Counters and histograms count what this operator saw happen: what the status told when the operator
// first read it was counted by the one before.
type Metrics struct {
	desc  descriptions
	clock clock.PassiveClock

	mu   sync.Mutex
	jobs map[types.NamespacedName]*figures
}

var _ prometheus.Collector = (*Metrics)(nil)

// NewMetrics returns metrics of no StreamJob yet.
func NewMetrics() *Metrics { return newMetrics(clock.RealClock{}) }

func newMetrics(c clock.PassiveClock) *Metrics {
	return &Metrics{desc: describe(), clock: c, jobs: map[types.NamespacedName]*figures{}}
}

// descriptions are what metrics there are.
type descriptions struct {
	info, ready, running, stable, paused, blocked, rolledBack     *prometheus.Desc
	checkpointsHealthy, checkpoint, checkpointSeconds             *prometheus.Desc
	checkpointBytes, interval, checkpoints, restarts, operation   *prometheus.Desc
	upgrade, upgrades, rollbacks, restores, downtime, snapshotAge *prometheus.Desc
	replay, replayed                                              *prometheus.Desc
}

func describe() descriptions {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("weir_streamjob_"+name, help, append([]string{"namespace", "streamjob"}, labels...), nil)
	}
	return descriptions{
		info:       desc("info", "1 for each StreamJob, with its phase and the revision that is deployed.", "phase", "revision"),
		ready:      desc("ready", "1 when the condition Ready of the StreamJob is True, else 0."),
		running:    desc("running", "1 when all tasks of the job run, else 0."),
		stable:     desc("stable", "1 when the deployed version counts as stable, else 0."),
		paused:     desc("paused", "1 when an annotation keeps the operator from acting for the StreamJob, else 0."),
		blocked:    desc("blocked", "1 while the StreamJob is stalled, or waits for another try or for what becomes of a savepoint before its deletion, with the reason.", "reason"),
		rolledBack: desc("rolled_back", "1 while an older version runs in place of the one that the spec asks for, with the reason.", "reason"),
		checkpointsHealthy: desc("checkpoints_healthy",
			"1 when the newest checkpoint completed, 0 when it failed; absent while neither can be said."),
		checkpoint:        desc("last_checkpoint_timestamp_seconds", "When the newest checkpoint that the operator has heard of was complete, in seconds since 1970."),
		checkpointSeconds: desc("last_checkpoint_duration_seconds", "How long the newest checkpoint took."),
		checkpointBytes:   desc("last_checkpoint_size_bytes", "How large the newest checkpoint is."),
		interval:          desc("checkpoint_interval_seconds", "The time between checkpoints that is in force; absent for jobs without checkpoints."),
		checkpoints:       desc("checkpoints_total", "Checkpoints and savepoints since the coordinator started, by outcome: completed or failed.", "outcome"),
		restarts:          desc("restarts_total", "How often the engine restarted the tasks in the life of the job."),
		operation:         desc("operation_info", "1 while an operation is in flight, with its type and phase.", "type", "phase"),
		upgrade:           desc("last_upgrade_seconds", "How long the parts of the newest upgrade took: check, save, pods and restore.", "part"),
		upgrades:          desc("upgrade_seconds", "How long the parts of upgrades took: check, save, pods and restore, and the total from the edit until the new version ran.", "part"),
		rollbacks:         desc("rollbacks_total", "Rollbacks to the newest stable version."),
		restores:          desc("restores_total", "Starts of a version, by where its state came from: effective is what was done, requested what was asked for.", "requested", "effective"),
		downtime:          desc("downtime_seconds_total", "How long not all tasks ran although the job was started and should run."),
		snapshotAge:       desc("restore_age_seconds", "How old the snapshot was when the deployed version started from it."),
		replay:            desc("restore_replay_seconds", "How much processing the deployed version did again when it started, at most; absent where that is not known."),
		replayed:          desc("records_replayed_total", "About how many records sources emitted again after restarts of tasks since the coordinator started."),
	}
}

func (d *descriptions) all() []*prometheus.Desc {
	return []*prometheus.Desc{
		d.info, d.ready, d.running, d.stable, d.paused, d.blocked, d.rolledBack,
		d.checkpointsHealthy, d.checkpoint, d.checkpointSeconds,
		d.checkpointBytes, d.interval, d.checkpoints, d.restarts, d.operation,
		d.upgrade, d.upgrades, d.rollbacks, d.restores, d.downtime, d.snapshotAge,
		d.replay, d.replayed,
	}
}

// Describe sends what metrics there are.
func (m *Metrics) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range m.desc.all() {
		ch <- d
	}
}

// Collect sends the metrics of each StreamJob.
func (m *Metrics) Collect(ch chan<- prometheus.Metric) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.clock.Now()
	for key, f := range m.jobs {
		s := sink{ch: ch, d: &m.desc, key: key}
		s.state(f)
		s.checkpoints(f)
		s.counts(f, now)
	}
}

// update takes a StreamJob up, as it was read or written.
func (m *Metrics) update(job *streamv1.StreamJob) {
	if m == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	key := types.NamespacedName{Namespace: job.Namespace, Name: job.Name}
	f := m.jobs[key]
	if f == nil || f.uid != job.UID {
		f = newFigures(job)
		m.jobs[key] = f
	}
	f.take(job, m.clock.Now())
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
