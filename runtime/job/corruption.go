// SPDX-License-Identifier: Apache-2.0

package job

import (
	"fmt"
	"time"

	"github.com/weir-stream/weir/runtime/contract"
	"github.com/weir-stream/weir/runtime/protocol"
	"github.com/weir-stream/weir/runtime/snapshot"
)

// fallsBack says that a damaged checkpoint may be left out.
func (m *Machine) fallsBack() bool {
	c := m.o.Config.Checkpointing
	return c != nil && c.OnCorruption == contract.FallBackOnCorruption
}

// damaged decides about a restore from src that found damage: the error says why the job ends; without one, it is tried from an older
// checkpoint. A snapshot of another lineage has none behind it.
func (m *Machine) damaged(src *source, why string) error {
	switch {
	case src.foreign || src.id == 0:
		return fmt.Errorf("restoring from %s: %s", src.path, why)
	case !m.fallsBack():
		return fmt.Errorf("restoring from %s: %s (onCorruption is %s; with %s the next older checkpoint is taken, if no sink can have committed since)",
			src.path, why, contract.FailOnCorruption, contract.FallBackOnCorruption)
	}
	if m.damage == nil {
		m.damage = map[int64]string{}
	}
	m.damage[src.id] = why
	if _, _, err := m.heads.head.FallBack(m.damage); err != nil {
		return fmt.Errorf("restoring from %s: %s: falling back: %w", src.path, why, err)
	}
	return nil
}

// manifestDamaged goes on with an older checkpoint, or ends the job.
func (m *Machine) manifestDamaged(now time.Time, why string) {
	a := m.attempt
	err := m.damaged(&a.source, why)
	if err == nil {
		a.source, err = m.chooseSource()
	}
	if err != nil {
		m.fail(now, Failure{Error: err.Error(), Fatal: true})
		return
	}
	m.message = fmt.Sprintf("falling back to %s: %s", a.source.path, why)
	m.emit(ReadManifest{Path: a.source.path, CRC32C: a.source.crc32c})
}

// taskFailure describes the failure that a task reported. One that was given damaged state ends the job, or makes it go back behind that: such a
// restart isn't one that the restart strategy counts, for each takes a checkpoint out of the head.
func (m *Machine) taskFailure(worker string, s *protocol.TaskStatus) Failure {
	text := snapshot.CutText(s.Error, snapshot.MaxText)
	if text == "" {
		text = "the worker ended the task"
	}
	f := Failure{Task: s.Task, Worker: worker, Error: fmt.Sprintf("task %s: %s", s.Task, text), Fatal: s.Fatal}
	if !s.Damaged || m.attempt == nil || m.attempt.source.path == "" {
		return f
	}
	if err := m.damaged(&m.attempt.source, f.Error); err != nil {
		f.Error, f.Fatal = err.Error(), true
		return f
	}
	f.Fatal, m.fallingBack = false, true // a restart from an older checkpoint helps
	return f
}

// newestIntact is what a recovery starts from: the newest snapshot of the head that isn't known to be damaged; false if it names none.
func (m *Machine) newestIntact() (source, bool, error) {
	h := &m.heads.head
	if _, ok := h.Newest(); !ok {
		return source{}, false, nil
	}
	n, out, err := h.FallBack(m.damage)
	return source{path: n.Path, crc32c: n.ManifestCRC32C, id: n.ID, leftOut: out}, true, err
}

// leaveOut makes the head stop naming what a restore fell back behind.
func leaveOut(h *snapshot.Head, out []snapshot.LeftOut) {
	if len(out) > 0 {
		h.LeaveOut(out)
	}
}

// learned passes a manifest on to who keeps the books of shared files.
func (m *Machine) learned(now time.Time, r *ManifestRead) {
	if m.snapshots != nil {
		m.snapshots.HandleManifestRead(now, r.Path, r.Manifest, r.Permanent || r.Damaged)
		m.pump(now)
	}
}

// deleteShared deletes the shared files that go with checkpoints which the end of the job takes along.
func (m *Machine) deleteShared(doomed []snapshot.CompletedCheckpoint) {
	var ids []int64
	for _, c := range doomed {
		if c.Shared {
			ids = append(ids, c.ID)
		}
	}
	if len(ids) == 0 {
		return
	}
	// By name alone: a coordinator with a higher grant may have taken the job over since, and write into the same directory.
	if paths := m.snapshots.Release(ids); len(paths) > 0 {
		m.deleteAtEnd(DeleteObjects{Paths: paths})
	}
}
