// SPDX-License-Identifier: Apache-2.0

package coordinator

import (
	"time"

	"github.com/weir-stream/weir/runtime/checkpoint"
	"github.com/weir-stream/weir/runtime/contract"
	"github.com/weir-stream/weir/runtime/job"
)

// byVertex gathers the parts of a snapshot by vertex.
func (l *loop) byVertex(parts []checkpoint.SubtaskStats) []contract.VertexCheckpoint {
	var out []contract.VertexCheckpoint
	for i := range parts {
		t := &parts[i]
		if len(out) == 0 || out[len(out)-1].Vertex != t.Task.Vertex {
			out = append(out, contract.VertexCheckpoint{Vertex: t.Task.Vertex, Operators: operatorsOf(&l.prepared.plan, t.Task.Vertex), Slowest: t.Task.Subtask})
		}
		addSubtask(&out[len(out)-1], subtaskReport(t))
	}
	return out
}

// operatorsOf are the operators of a vertex's chain.
func operatorsOf(plan *job.Plan, vertex string) []string {
	for _, v := range plan.Vertices {
		if v.Name == vertex {
			return v.Operators
		}
	}
	return nil
}

func addSubtask(v *contract.VertexCheckpoint, s contract.SubtaskCheckpoint) {
	v.Tasks++
	missing := v.Acked < len(v.Subtasks)
	if !missing && (!s.Acked || s.AckedMillis > v.AckedMillis) {
		v.Slowest = s.Subtask
	}
	if s.Acked {
		v.Acked++
	}
	v.AckedMillis = max(v.AckedMillis, s.AckedMillis)
	v.StartDelayMillis = max(v.StartDelayMillis, s.StartDelayMillis)
	v.AlignmentMillis = max(v.AlignmentMillis, s.AlignmentMillis)
	v.WaitedMillis = max(v.WaitedMillis, s.WaitedMillis)
	v.SyncMicros = max(v.SyncMicros, s.SyncMicros)
	v.AsyncMillis = max(v.AsyncMillis, s.AsyncMillis)
	v.UploadMillis = max(v.UploadMillis, s.UploadMillis)
	v.AckDelayMillis = max(v.AckDelayMillis, s.AckDelayMillis)
	v.SizeBytes += s.SizeBytes
	v.WrittenBytes += s.WrittenBytes
	v.ReusedBytes += s.ReusedBytes
	v.AlignmentBytes += s.AlignmentBytes
	v.ChannelBytes += s.ChannelBytes
	for _, o := range s.ByOperator {
		addOperator(v, o)
	}
	v.Subtasks = append(v.Subtasks, s)
}

// addOperator adds the part of an operator of one subtask. All subtasks of a vertex have the same operators, in the same order.
func addOperator(v *contract.VertexCheckpoint, o contract.OperatorCheckpoint) {
	for i := range v.ByOperator {
		if of := &v.ByOperator[i]; of.Operator == o.Operator {
			of.SyncMicros, of.AsyncMillis = max(of.SyncMicros, o.SyncMicros), max(of.AsyncMillis, o.AsyncMillis)
			of.WrittenBytes += o.WrittenBytes
			return
		}
	}
	v.ByOperator = append(v.ByOperator, o)
}

func subtaskReport(t *checkpoint.SubtaskStats) contract.SubtaskCheckpoint {
	m := &t.Cost
	s := contract.SubtaskCheckpoint{
		Subtask: t.Task.Subtask, Acked: t.Acked, AckedMillis: t.AckedAfter.Milliseconds(), StartDelayMillis: t.StartDelay.Milliseconds(),
		AlignmentMillis: m.Alignment.Milliseconds(), WaitedMillis: m.Waited.Milliseconds(), SyncMicros: m.Sync.Microseconds(),
		AsyncMillis: m.Async.Milliseconds(), UploadMillis: m.Upload.Milliseconds(), AckDelayMillis: t.AckDelay().Milliseconds(),
		SizeBytes: t.Size, WrittenBytes: m.Bytes, ReusedBytes: t.Reused, AlignmentBytes: m.AlignmentBytes, ChannelBytes: m.ChannelBytes,
		BlockedPercent: percent(m.Load.Blocked, m.Load.Time), BusyPercent: percent(m.Load.Time-m.Load.Idle-m.Load.Blocked, m.Load.Time),
	}
	if m.Last != nil {
		s.LastFrom = m.Last.From.String()
	}
	for _, c := range m.Channels {
		s.Channels = append(s.Channels, contract.ChannelCheckpoint{
			From: c.Channel.From.String(), Input: c.Channel.Input, DelayMillis: c.Delay.Milliseconds(), BlockedMillis: c.Blocked.Milliseconds(),
			BlockedBytes: c.BlockedBytes, OvertakenBytes: c.OvertakenBytes,
		})
	}
	for _, o := range m.Operators {
		s.ByOperator = append(s.ByOperator, contract.OperatorCheckpoint{
			Operator: o.Operator, SyncMicros: o.Sync.Microseconds(), AsyncMillis: o.Async.Milliseconds(), WrittenBytes: o.Bytes,
		})
	}
	if p := t.Progress; p != nil {
		s.Stage, s.StageMillis, s.MissingCount = string(p.Stage), p.For.Milliseconds(), p.MissingCount
		for _, c := range p.Missing {
			s.MissingFrom = append(s.MissingFrom, c.From.String())
		}
	}
	return s
}

func percent(part, whole time.Duration) int {
	if whole <= 0 {
		return 0
	}
	return int(100 * max(part, 0) / whole)
}
