// SPDX-License-Identifier: Apache-2.0

package job

import (
	"time"

	"github.com/weir-stream/weir/runtime/protocol"
	"github.com/weir-stream/weir/runtime/record"
	"github.com/weir-stream/weir/runtime/snapshot"
)

// Machine is the life of a job. See the package comment.
type Machine struct {
	o       Options
	effects []Effect
}

// New returns a machine that waits for HandleStart.
func New(o Options) (*Machine, error) {
	o.EnsureDefaults()
	if err := o.Validate(); err != nil {
		return nil, err
	}
	return &Machine{o: o}, nil
}

// Effects returns what has to be carried out since the last call, in order.
func (m *Machine) Effects() []Effect {
	e := m.effects
	m.effects = nil
	return e
}

// NextWake says when HandleTime wants to be called; false for never.
func (m *Machine) NextWake() (time.Time, bool) { return time.Time{}, false }

// HandleStart begins.
func (m *Machine) HandleStart(now time.Time) {}

// HandleShutdown ends this coordinator without ending the job: its process was told to stop.
func (m *Machine) HandleShutdown(now time.Time) {}

// HandleTime lets time pass.
func (m *Machine) HandleTime(now time.Time) {}

// HandleHeadRead takes the outcome of ReadHead.
func (m *Machine) HandleHeadRead(now time.Time, h snapshot.Head, found bool, err error) {}

// HandleSwapped takes the outcome of SwapHead; err says what went wrong unless it is Swapped.
func (m *Machine) HandleSwapped(now time.Time, outcome snapshot.SwapOutcome, err error) {}

// HandleManifestWritten takes the outcome of WriteManifest: checksum and size of the manifest, or an error.
func (m *Machine) HandleManifestWritten(now time.Time, checkpoint int64, crc32c uint32, size int64, err error) {
}

// ManifestRead is the outcome of ReadManifest.
type ManifestRead struct {
	Path     string
	Manifest *snapshot.Manifest
	// Err is why there is no manifest. Permanent says that trying again can't help: it doesn't exist or is corrupt.
	Err       error
	Permanent bool
}

// HandleManifestRead takes the outcome of ReadManifest.
func (m *Machine) HandleManifestRead(now time.Time, r ManifestRead) {}

// HandleDeleted takes the outcome of DeleteObjects; an error leaves the objects to a sweeper.
func (m *Machine) HandleDeleted(now time.Time, token int64, err error) {}

// HandleWorkerRegistered takes the first message of a worker on a connection. The machine answers with Registered or Refused.
func (m *Machine) HandleWorkerRegistered(now time.Time, r protocol.Register) {}

// HandleWorkerLost says that the connection to a worker broke and it didn't come back in time, or that it was silent for too long.
func (m *Machine) HandleWorkerLost(now time.Time, worker, reason string) {}

// HandleFromWorker takes a message of a worker. Heartbeats and registrations aren't for it.
func (m *Machine) HandleFromWorker(now time.Time, worker string, msg protocol.FromWorker) {}

// HandleSavepoint takes a request for a savepoint below target (empty: the default), with stop other than StopNone one
// that stops the job. A Reply with the operation id follows, at the latest with Exit. A repeat of an id is no new request.
func (m *Machine) HandleSavepoint(now time.Time, operation, target string, stop record.StopMode) {}

// HandleCheckpoint takes a request for a checkpoint now.
func (m *Machine) HandleCheckpoint(now time.Time, operation string) {}

// HandleCancel takes a request to cancel the job, after a savepoint if that is asked for.
func (m *Machine) HandleCancel(now time.Time, operation string, savepoint bool, target string) {}

// Status returns a copy of what is known.
func (m *Machine) Status(now time.Time) Status { return Status{} }
