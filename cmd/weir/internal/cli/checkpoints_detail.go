// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/weir-stream/weir/runtime/contract"
	"github.com/weir-stream/weir/runtime/program/human"
)

// printCheckpoint shows one snapshot by operator and subtask for people.
func printCheckpoint(out io.Writer, now time.Time, d *contract.CheckpointDetail) error {
	p := &checkpointPrinter{w: tabwriter.NewWriter(out, 0, 0, 2, ' ', 0), now: now}
	r := &d.CheckpointReport
	p.row(r.Kind, fmt.Sprintf("%d, %s, triggered %s, took %s", r.ID, state(r), ago(now, r.TriggeredAt), took(now, r)))
	if r.Error != "" {
		p.row("Why", oneLine(r.Error))
	}
	switch {
	case r.Culprit == nil || r.State == "Failed": // then it is part of the error
	case r.State == "InFlight":
		p.row("Waits for", r.Culprit.Text)
	default:
		p.row("Slowest part", r.Culprit.Text)
	}
	p.row("Acknowledged", fmt.Sprintf("%d of %d tasks", r.Acked, r.Tasks)+lacking(r))
	p.row("Before it", "queued for "+millis(r.QueuedMillis)+gapOf(r))
	p.row("Longest", fmt.Sprintf("trigger delay %s, start delay %s, alignment %s, waiting %s, synchronous %s, asynchronous %s, upload %s, finalize %s",
		millis(r.TriggerDelayMillis), millis(r.StartDelayMillis), millis(r.AlignmentMillis), millis(r.WaitedMillis), micros(r.SyncMicros),
		millis(r.AsyncMillis), millis(r.UploadMillis), millis(r.FinalizeMillis)))
	p.row("Bytes", fmt.Sprintf("%s, of it %s written and %s reused; %s waited in blocked channels, %s were overtaken", human.Bytes(r.SizeBytes),
		human.Bytes(r.WrittenBytes), human.Bytes(r.ReusedBytes), human.Bytes(r.AlignmentBytes), human.Bytes(r.ChannelBytes)))
	if r.Path != "" {
		p.row("Path", r.Path)
	}
	p.vertices(d.Vertices)
	p.operators(d.Vertices)
	p.subtasks(d.Vertices)
	p.channels(d.Vertices)
	return p.end()
}

func lacking(r *contract.CheckpointReport) string {
	if len(r.Missing) == 0 {
		return ""
	}
	text := "; not " + strings.Join(r.Missing, ", ")
	if more := r.Tasks - r.Acked - len(r.Missing); more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}

func gapOf(r *contract.CheckpointReport) string {
	if r.IdleGapMillis == nil {
		return ""
	}
	return ", nothing in flight for " + millis(*r.IdleGapMillis)
}

func (p *checkpointPrinter) vertices(vertices []contract.VertexCheckpoint) {
	if len(vertices) == 0 {
		return
	}
	p.title("VERTEX", "TASKS", "SLOWEST", "ACKED", "START", "ALIGNED", "WAITED", "SYNC", "ASYNC", "UPLOAD", "ACK DELAY", "SIZE", "WRITTEN", "REUSED",
		"BUFFERED", "OVERTAKEN", "OPERATORS")
	for i := range vertices {
		v := &vertices[i]
		p.row(v.Vertex, fmt.Sprintf("%d/%d", v.Acked, v.Tasks), v.Slowest, millis(v.AckedMillis), millis(v.StartDelayMillis), millis(v.AlignmentMillis),
			millis(v.WaitedMillis), micros(v.SyncMicros), millis(v.AsyncMillis), millis(v.UploadMillis), millis(v.AckDelayMillis),
			human.Bytes(v.SizeBytes), human.Bytes(v.WrittenBytes), human.Bytes(v.ReusedBytes), human.Bytes(v.AlignmentBytes), human.Bytes(v.ChannelBytes),
			strings.Join(v.Operators, ", "))
	}
}

func (p *checkpointPrinter) subtasks(vertices []contract.VertexCheckpoint) {
	titled := false
	for i := range vertices {
		v := &vertices[i]
		for j := range v.Subtasks {
			if !titled {
				titled = true
				p.title("TASK", "ACKED", "START", "ALIGNED", "LAST FROM", "WAITED", "SYNC", "ASYNC", "UPLOAD", "ACK DELAY", "SIZE", "WRITTEN", "BUFFERED",
					"OVERTAKEN", "BUSY", "BLOCKED", "STAGE")
			}
			p.subtask(v.Vertex, &v.Subtasks[j])
		}
		if v.Omitted > 0 {
			p.row(fmt.Sprintf("%s: %d faster ones are left out", v.Vertex, v.Omitted))
		}
	}
}

func (p *checkpointPrinter) subtask(vertex string, s *contract.SubtaskCheckpoint) {
	task := fmt.Sprintf("%s/%d", vertex, s.Subtask)
	if !s.Acked {
		p.row(task, "no", "-", "-", "-", "-", "-", "-", "-", "-", "-", "-", "-", "-", "-", "-", stage(s))
		return
	}
	p.row(task, millis(s.AckedMillis), millis(s.StartDelayMillis), millis(s.AlignmentMillis), orDash(s.LastFrom), millis(s.WaitedMillis), micros(s.SyncMicros),
		millis(s.AsyncMillis), millis(s.UploadMillis), millis(s.AckDelayMillis), human.Bytes(s.SizeBytes), human.Bytes(s.WrittenBytes),
		human.Bytes(s.AlignmentBytes), human.Bytes(s.ChannelBytes), fmt.Sprintf("%d%%", s.BusyPercent), fmt.Sprintf("%d%%", s.BlockedPercent), "Acknowledged")
}

// operators shows the parts of those in chains of several.
func (p *checkpointPrinter) operators(vertices []contract.VertexCheckpoint) {
	titled := false
	for i := range vertices {
		v := &vertices[i]
		if len(v.Operators) < 2 {
			continue
		}
		for _, o := range v.ByOperator {
			if !titled {
				titled = true
				p.title("OPERATOR", "IN VERTEX", "SYNC", "ASYNC", "WRITTEN")
			}
			p.row(o.Operator, v.Vertex, micros(o.SyncMicros), millis(o.AsyncMillis), human.Bytes(o.WrittenBytes))
		}
	}
}

// maxChannels bounds the channels that are shown.
const maxChannels = 10

// channels shows those whose barriers came last, and which held the most back.
func (p *checkpointPrinter) channels(vertices []contract.VertexCheckpoint) {
	type channel struct {
		of contract.ChannelCheckpoint
		to string
	}
	var all []channel
	for i := range vertices {
		v := &vertices[i]
		for j := range v.Subtasks {
			for _, c := range v.Subtasks[j].Channels {
				all = append(all, channel{of: c, to: fmt.Sprintf("%s/%d", v.Vertex, v.Subtasks[j].Subtask)})
			}
		}
	}
	if len(all) == 0 {
		return
	}
	slices.SortStableFunc(all, func(a, b channel) int {
		return cmp.Or(cmp.Compare(max(b.of.DelayMillis, b.of.BlockedMillis), max(a.of.DelayMillis, a.of.BlockedMillis)),
			cmp.Compare(b.of.DelayMillis, a.of.DelayMillis), cmp.Compare(b.of.BlockedBytes+b.of.OvertakenBytes, a.of.BlockedBytes+a.of.OvertakenBytes))
	})
	p.title("CHANNEL", "BARRIER AFTER", "BLOCKED", "BUFFERED", "OVERTAKEN")
	for _, c := range all[:min(len(all), maxChannels)] {
		p.row(c.of.From+" -> "+c.to, millis(c.of.DelayMillis), millis(c.of.BlockedMillis), human.Bytes(c.of.BlockedBytes), human.Bytes(c.of.OvertakenBytes))
	}
	if more := len(all) - maxChannels; more > 0 {
		p.row(fmt.Sprintf("%d more with -o json", more))
	}
}

// stage says how far a subtask got that has not acknowledged.
func stage(s *contract.SubtaskCheckpoint) string {
	if s.Stage == "" {
		return "no barrier was seen"
	}
	text := fmt.Sprintf("%s for %s", s.Stage, millis(s.StageMillis))
	if len(s.MissingFrom) > 0 {
		text += ", no barrier from " + strings.Join(s.MissingFrom, ", ")
		if more := s.MissingCount - len(s.MissingFrom); more > 0 {
			text += fmt.Sprintf(" and %d more", more)
		}
	}
	return text
}
