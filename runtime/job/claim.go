// SPDX-License-Identifier: Apache-2.0

package job

import (
	"fmt"
	"math"
	"time"

	"github.com/weir-stream/weir/runtime/contract"
	"github.com/weir-stream/weir/runtime/snapshot"
)

// originDeletion is the deletion of the snapshot that the job started from and owns.
type originDeletion struct {
	// running says that it is under way, retryAt when it is tried again.
	running bool
	retryAt time.Time
}

const (
	// originToken stands for that deletion among those that the end of the job waits for.
	originToken = math.MinInt64
	// originRetry is waited before it is tried again, in units of Options.RetryInterval.
	originRetry = 60
)

// fromElsewhere is the snapshot that the configuration names for the first start. One that the job owned and has deleted is none any more.
func (m *Machine) fromElsewhere() (source, error) {
	src := source{path: m.o.Config.RestoreFrom, foreign: true}
	if err := m.heads.head.Origin.CheckAgain(src.path); err != nil {
		return source{}, err
	}
	if m.o.Config.RestoreMode == contract.Claim {
		src.claim = snapshot.Claimed
	}
	return src, nil
}

// claimFirst claims the snapshot to start from, if the job is to own it and the head doesn't say yet that it does; then the attempt goes on.
func (m *Machine) claimFirst(now time.Time, sn *snapshot.Manifest) {
	a := m.attempt
	if a.source.claim != snapshot.Claimed || m.heads.head.Origin.Usable() {
		m.record(now)
		return
	}
	if err := sn.CheckClaim(); err != nil {
		m.fail(now, Failure{Error: fmt.Sprintf("restoring from %s: %v", a.source.path, err), Fatal: true})
		return
	}
	a.phase = claiming
	m.emit(ClaimSnapshot{Dir: a.source.dir})
}

// HandleSnapshotClaimed takes the outcome of ClaimSnapshot. permanent says of an error that trying again can't help: somebody else owns it.
func (m *Machine) HandleSnapshotClaimed(now time.Time, dir string, err error, permanent bool) {
	a := m.attempt
	if m.exited || a == nil || a.phase != claiming || a.source.dir != dir {
		return
	}
	switch {
	case err == nil:
		m.message = ""
		m.record(now)
	case permanent:
		m.fail(now, Failure{Error: fmt.Sprintf("restoring from %s: %v", a.source.path, err), Fatal: true})
	default:
		a.readError = snapshot.CutText(err.Error(), snapshot.MaxText)
		m.message = "waiting for storage: " + a.readError
		a.readAgainAt = now.Add(m.o.RetryInterval)
	}
}

// readAgain repeats what storage could not do for the attempt.
func (m *Machine) readAgain() {
	a := m.attempt
	if a.phase == claiming {
		m.emit(ClaimSnapshot{Dir: a.source.dir})
		return
	}
	m.emit(ReadManifest{Path: a.source.path, CRC32C: a.source.crc32c})
}

// releaseOrigin lets a head that names as many checkpoints as are retained give up the snapshot that the job started from, if it owns it. None of them refers
// to files of that: the first one of a job is always whole.
func (m *Machine) releaseOrigin(next *snapshot.Head) {
	c := m.o.Config.Checkpointing
	if c == nil || next.Origin == nil || next.Origin.Claim != snapshot.Claimed || len(next.Checkpoints) < max(c.RetentionCount, 1) {
		return
	}
	next.Origin.Claim = snapshot.Released
}

// deleteOrigin deletes the snapshot that the job started from once the head says that it is released.
func (m *Machine) deleteOrigin() {
	o := m.heads.head.Origin
	if m.exited || o == nil || o.Claim != snapshot.Released || !m.origin.retryAt.IsZero() {
		return
	}
	if m.ending != nil {
		m.ending.deleting[originToken] = true
	}
	if !m.origin.running {
		m.origin.running = true
		m.emit(DeleteOrigin{Dir: snapshot.Directory(o.Path)})
	}
}

// HandleOriginDeleted takes the outcome of DeleteOrigin. After an error it is tried again later, and by the next coordinator.
func (m *Machine) HandleOriginDeleted(now time.Time, dir string, err error) {
	m.origin.running = false
	if m.exited {
		return
	}
	if e := m.ending; e != nil {
		if delete(e.deleting, originToken); e.over() {
			m.leave()
		}
		return
	}
	if err != nil {
		m.origin.retryAt = now.Add(originRetry * m.o.RetryInterval)
		return
	}
	m.updateHead(now, func(h *snapshot.Head) {
		if o := h.Origin; o != nil && o.Claim == snapshot.Released && snapshot.Directory(o.Path) == dir {
			o.Claim = snapshot.Deleted
		}
	}, nil)
}
