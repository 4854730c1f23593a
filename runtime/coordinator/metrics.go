// SPDX-License-Identifier: Apache-2.0

package coordinator

import (
	"context"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/weir-stream/weir/runtime/contract"
)

const scrapeTimeout = 5 * time.Second

// metrics turns the status of the job into Prometheus metrics at each scrape. They are
// described in docs/reference/control-api.md.
type metrics struct {
	control jobControl

	state, restarts, workers, slots             *prometheus.Desc
	recordsIn, recordsOut, replayed             *prometheus.Desc
	checkpoints, inFlight                       *prometheus.Desc
	lastDuration, lastSize, lastTime, lastFinal *prometheus.Desc
	swept, orphans, orphanBytes                 *prometheus.Desc
	detail                                      checkpointMetrics
}

func newMetrics(c jobControl, namespace, name string) *metrics {
	labels := prometheus.Labels{"namespace": namespace, "job": name}
	desc := func(name, help string, variable ...string) *prometheus.Desc {
		return prometheus.NewDesc("weir_"+name, help, variable, labels)
	}
	return &metrics{
		control:      c,
		state:        desc("job_state", "1 for the state the job is in.", "state"),
		restarts:     desc("job_restarts_total", "Restarts in the life of the job."),
		workers:      desc("workers", "Workers connected."),
		slots:        desc("slots", "Slots by whether they are offered or needed.", "kind"),
		recordsIn:    desc("source_records", "Records emitted by the sources of the running attempt."),
		recordsOut:   desc("sink_records", "Records taken by the sinks of the running attempt."),
		replayed:     desc("source_records_replayed_total", "About how many records sources emitted again after restarts of this coordinator's tasks."),
		checkpoints:  desc("checkpoints_total", "Snapshots of this coordinator by outcome.", "outcome"),
		inFlight:     desc("checkpoints_in_flight", "Snapshots in flight."),
		lastDuration: desc("last_checkpoint_duration_seconds", "From trigger to completion of the last checkpoint."),
		lastSize:     desc("last_checkpoint_size_bytes", "Bytes that the last checkpoint consists of."),
		lastTime:     desc("last_checkpoint_completed_timestamp_seconds", "When the last checkpoint completed."),
		lastFinal:    desc("last_checkpoint_id", "Id of the last completed checkpoint."),
		swept:        desc("last_sweep_timestamp_seconds", "When orphans in the directory of the job were last looked for to the end."),
		orphans:      desc("orphans_deleted_total", "Objects that nothing referred to, deleted by this coordinator."),
		orphanBytes:  desc("orphans_deleted_bytes_total", "Bytes of the objects that nothing referred to, deleted by this coordinator."),
		detail:       newCheckpointMetrics(desc),
	}
}

// handler serves the metrics of the job, the Go run-time and the process from a registry of its own.
func (m *metrics) handler() http.Handler {
	r := prometheus.NewRegistry()
	r.MustRegister(m, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return promhttp.HandlerFor(r, promhttp.HandlerOpts{Timeout: 2 * scrapeTimeout})
}

// Describe implements prometheus.Collector.
func (m *metrics) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		m.state, m.restarts, m.workers, m.slots, m.recordsIn, m.recordsOut, m.replayed, m.checkpoints,
		m.inFlight, m.lastDuration, m.lastSize, m.lastTime, m.lastFinal, m.swept, m.orphans, m.orphanBytes,
	} {
		ch <- d
	}
	m.detail.describe(ch)
}

// Collect implements prometheus.Collector. A scrape that the loop doesn't answer in time has no metrics of the job.
func (m *metrics) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), scrapeTimeout) //nolint:forbidigo // the interface passes no context
	defer cancel()
	s, err := m.control.status(ctx)
	if err != nil {
		return
	}
	h, err := m.control.checkpoints(ctx)
	if err != nil {
		return
	}
	m.collectJob(ch, s)
	m.collectCheckpoints(ch, s, h)
}

func gauge(ch chan<- prometheus.Metric, d *prometheus.Desc, v float64, labels ...string) {
	ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
}

func counter(ch chan<- prometheus.Metric, d *prometheus.Desc, v int64, labels ...string) {
	ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
}

func (m *metrics) collectJob(ch chan<- prometheus.Metric, s *contract.JobStatus) {
	for _, state := range contract.JobStates() {
		v := 0.0
		if s.State == state {
			v = 1
		}
		gauge(ch, m.state, v, string(state))
	}
	counter(ch, m.restarts, s.Restarts)
	gauge(ch, m.workers, float64(len(s.Workers)))
	gauge(ch, m.slots, float64(s.SlotsOffered), "offered")
	gauge(ch, m.slots, float64(s.SlotsNeeded), "needed")
	gauge(ch, m.recordsIn, float64(s.RecordsIn))
	gauge(ch, m.recordsOut, float64(s.RecordsOut))
	counter(ch, m.replayed, s.RecordsReplayed)
	m.collectSweeps(ch, s.Sweeps)
}

func (m *metrics) collectSweeps(ch chan<- prometheus.Metric, s *contract.Sweeps) {
	if s == nil {
		return
	}
	if s.Error == "" {
		gauge(ch, m.swept, float64(s.At.UnixMilli())/1000)
	}
	counter(ch, m.orphans, s.Objects)
	counter(ch, m.orphanBytes, s.Bytes)
}

func (m *metrics) collectCheckpoints(ch chan<- prometheus.Metric, s *contract.JobStatus, h *contract.CheckpointsReport) {
	counter(ch, m.checkpoints, h.Completed, "completed")
	counter(ch, m.checkpoints, h.Failed, "failed")
	gauge(ch, m.inFlight, float64(h.InFlight))
	m.detail.collect(ch, h)
	c := s.LastCheckpoint
	if c == nil {
		return
	}
	gauge(ch, m.lastFinal, float64(c.ID))
	gauge(ch, m.lastSize, float64(c.SizeBytes))
	gauge(ch, m.lastDuration, float64(c.DurationMillis)/1000)
	if !c.CompletedAt.IsZero() {
		gauge(ch, m.lastTime, float64(c.CompletedAt.UnixMilli())/1000)
	}
}
