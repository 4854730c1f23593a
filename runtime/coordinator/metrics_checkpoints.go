// SPDX-License-Identifier: Apache-2.0

package coordinator

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weir-stream/weir/runtime/contract"
)

// maxVertices bounds the vertices that have metrics of their own: the first ones in topological order.
const maxVertices = 50

// checkpointMetrics say where snapshots spend their time. Labels are bounded: there are none for subtasks.
type checkpointMetrics struct {
	failures, consecutive, inFlightAge        *prometheus.Desc
	seconds, phases, bytes                    *prometheus.Desc
	duration, startDelay, idleGap             *prometheus.Desc
	lastPhases, vertexPhases, vertexBytes     *prometheus.Desc
	lastAlignmentBytes, lastWritten, lastOver *prometheus.Desc
	unacknowledged                            *prometheus.Desc
}

func newCheckpointMetrics(desc func(name, help string, variable ...string) *prometheus.Desc) checkpointMetrics {
	return checkpointMetrics{
		failures:           desc("checkpoint_failures_total", "Snapshots that failed, by reason.", "reason"),
		consecutive:        desc("checkpoint_consecutive_failures", "Failures in a row that count against tolerableFailures."),
		inFlightAge:        desc("checkpoint_in_flight_age_seconds", "Age of the oldest snapshot in flight, 0 without one."),
		seconds:            desc("checkpoint_seconds_total", "Sum of the durations of completed snapshots."),
		phases:             desc("checkpoint_phase_seconds_total", "Sum over completed snapshots of the longest of any task, by phase.", "phase"),
		bytes:              desc("checkpoint_bytes_total", "Bytes of completed snapshots: written, reused, and overtaken (part of written).", "kind"),
		duration:           desc("checkpoint_duration_seconds", "Duration of the last completed checkpoints.", "quantile"),
		startDelay:         desc("checkpoint_start_delay_seconds", "Longest start delay of the last completed checkpoints.", "quantile"),
		idleGap:            desc("checkpoint_idle_gap_seconds", "Time without a snapshot in flight before the last completed checkpoints.", "quantile"),
		lastPhases:         desc("last_checkpoint_phase_seconds", "Longest of any task in the last completed snapshot, by phase.", "phase"),
		vertexPhases:       desc("last_checkpoint_vertex_seconds", "Longest of any subtask in the newest ended checkpoint, by vertex and phase.", "vertex", "phase"),
		vertexBytes:        desc("last_checkpoint_vertex_bytes", "Bytes of the newest ended checkpoint, by vertex and kind.", "vertex", "kind"),
		lastAlignmentBytes: desc("last_checkpoint_alignment_bytes", "Bytes that waited in blocked channels during the last completed snapshot."),
		lastWritten:        desc("last_checkpoint_written_bytes", "Bytes uploaded for the last completed snapshot."),
		unacknowledged:     desc("last_failed_checkpoint_unacknowledged_tasks", "Tasks that had not acknowledged the newest failed snapshot of the last 20."),
		lastOver:           desc("last_checkpoint_overtaken_bytes", "Bytes that barriers overtook in the last completed snapshot."),
	}
}

func (m *checkpointMetrics) describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		m.failures, m.consecutive, m.inFlightAge, m.seconds, m.phases, m.bytes, m.duration, m.startDelay, m.idleGap,
		m.lastPhases, m.vertexPhases, m.vertexBytes, m.lastAlignmentBytes, m.lastWritten, m.lastOver, m.unacknowledged,
	} {
		ch <- d
	}
}

const (
	perMilli = 1e-3
	perMicro = 1e-6
)

func (m *checkpointMetrics) collect(ch chan<- prometheus.Metric, h *contract.CheckpointsReport) {
	for reason, n := range h.FailedByReason {
		counter(ch, m.failures, n, reason)
	}
	gauge(ch, m.consecutive, float64(h.ConsecutiveFailures))
	t := &h.Totals
	sum := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, v, labels...)
	}
	sum(m.seconds, float64(t.DurationMillis)*perMilli)
	sum(m.phases, float64(t.TriggerDelayMillis)*perMilli, "trigger_delay")
	sum(m.phases, float64(t.StartDelayMillis)*perMilli, "start_delay")
	sum(m.phases, float64(t.AlignmentMillis)*perMilli, "alignment")
	sum(m.phases, float64(t.WaitedMillis)*perMilli, "waiting")
	sum(m.phases, float64(t.SyncMicros)*perMicro, "synchronous")
	sum(m.phases, float64(t.AsyncMillis)*perMilli, "asynchronous")
	sum(m.phases, float64(t.UploadMillis)*perMilli, "upload")
	sum(m.phases, float64(t.FinalizeMillis)*perMilli, "finalize")
	sum(m.bytes, float64(t.WrittenBytes), "written")
	sum(m.bytes, float64(t.ReusedBytes), "reused")
	sum(m.bytes, float64(t.ChannelBytes), "overtaken")
	if s := h.Summary; s != nil {
		quantiles(ch, m.duration, s.DurationMillis)
		quantiles(ch, m.startDelay, s.StartDelayMillis)
		quantiles(ch, m.idleGap, s.IdleGapMillis)
	}
	m.collectRecent(ch, h.Recent)
	for i := range h.Newest {
		if i == maxVertices {
			break
		}
		m.collectVertex(ch, &h.Newest[i])
	}
}

func quantiles(ch chan<- prometheus.Metric, d *prometheus.Desc, s contract.Spread) {
	for _, q := range []struct {
		quantile float64
		value    int64
	}{{0.5, s.P50}, {0.95, s.P95}, {0.99, s.P99}, {1, s.Max}} {
		gauge(ch, d, float64(q.value)*perMilli, strconv.FormatFloat(q.quantile, 'g', -1, 64))
	}
}

// collectRecent tells of the oldest snapshot in flight, of the last that completed, and of the last that failed.
func (m *checkpointMetrics) collectRecent(ch chan<- prometheus.Metric, recent []contract.CheckpointReport) {
	age := int64(0)
	var last, failed *contract.CheckpointReport
	for i := range recent {
		switch r := &recent[i]; {
		case r.State == "InFlight":
			age = max(age, r.DurationMillis)
		case r.State == "Completed" && last == nil:
			last = r
		case r.State == "Failed" && failed == nil:
			failed = r
		}
	}
	gauge(ch, m.inFlightAge, float64(age)*perMilli)
	if failed != nil {
		gauge(ch, m.unacknowledged, float64(failed.Tasks-failed.Acked))
	}
	if last == nil {
		return
	}
	gauge(ch, m.lastAlignmentBytes, float64(last.AlignmentBytes))
	gauge(ch, m.lastWritten, float64(last.WrittenBytes))
	gauge(ch, m.lastOver, float64(last.ChannelBytes))
	gauge(ch, m.lastPhases, float64(last.TriggerDelayMillis)*perMilli, "trigger_delay")
	gauge(ch, m.lastPhases, float64(last.StartDelayMillis)*perMilli, "start_delay")
	gauge(ch, m.lastPhases, float64(last.AlignmentMillis)*perMilli, "alignment")
	gauge(ch, m.lastPhases, float64(last.WaitedMillis)*perMilli, "waiting")
	gauge(ch, m.lastPhases, float64(last.SyncMicros)*perMicro, "synchronous")
	gauge(ch, m.lastPhases, float64(last.AsyncMillis)*perMilli, "asynchronous")
	gauge(ch, m.lastPhases, float64(last.UploadMillis)*perMilli, "upload")
	gauge(ch, m.lastPhases, float64(last.FinalizeMillis)*perMilli, "finalize")
}

func (m *checkpointMetrics) collectVertex(ch chan<- prometheus.Metric, v *contract.VertexCheckpoint) {
	gauge(ch, m.vertexPhases, float64(v.StartDelayMillis)*perMilli, v.Vertex, "start_delay")
	gauge(ch, m.vertexPhases, float64(v.AlignmentMillis)*perMilli, v.Vertex, "alignment")
	gauge(ch, m.vertexPhases, float64(v.WaitedMillis)*perMilli, v.Vertex, "waiting")
	gauge(ch, m.vertexPhases, float64(v.SyncMicros)*perMicro, v.Vertex, "synchronous")
	gauge(ch, m.vertexPhases, float64(v.AsyncMillis)*perMilli, v.Vertex, "asynchronous")
	gauge(ch, m.vertexPhases, float64(v.UploadMillis)*perMilli, v.Vertex, "upload")
	gauge(ch, m.vertexBytes, float64(v.SizeBytes), v.Vertex, "size")
	gauge(ch, m.vertexBytes, float64(v.WrittenBytes), v.Vertex, "written")
	gauge(ch, m.vertexBytes, float64(v.ReusedBytes), v.Vertex, "reused")
	gauge(ch, m.vertexBytes, float64(v.AlignmentBytes), v.Vertex, "alignment")
	gauge(ch, m.vertexBytes, float64(v.ChannelBytes), v.Vertex, "overtaken")
}
