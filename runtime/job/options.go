// SPDX-License-Identifier: Apache-2.0

package job

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/weir-stream/weir/runtime/contract"
	"github.com/weir-stream/weir/runtime/protocol"
)

// Options configure a [Machine]. Durations of zero mean the default.
type Options struct {
	// Config of the job. JobID must be set.
	Config contract.JobConfig
	// Plan of the job and Restore, which gives old state to it.
	Plan    Plan
	Restore Restorer
	// Grant of this deployment of the coordinator, from 1; Owner is random, of this incarnation.
	Grant int64
	Owner string
	// FirstN is the first N of the epochs of a new head. A head that is lost with its coordinator can't count them, so that every
	// coordinator needs a higher one for workers to tell its attempts from those of the one before. Default 1.
	FirstN int64
	// Dir is the job's directory in storage, ending in "/" (or empty).
	Dir string
	// Hello answers the registration of a worker; the machine fills in the epoch.
	Hello protocol.Registered
	// Rand gives random delays. Mandatory.
	Rand *rand.Rand
	// SlotTimeout bounds the wait for worker slots of one attempt; then that attempt has failed. Default 5 min.
	SlotTimeout time.Duration
	// DeployTimeout bounds the time until all tasks run. Default 5 min.
	DeployTimeout time.Duration
	// CancelTimeout bounds the time until all tasks are canceled; then the workers that didn't answer are dropped. Default 30 s.
	CancelTimeout time.Duration
	// StopTimeout bounds the time from the completion of a stop's savepoint until all tasks finished. Default: the checkpoint timeout.
	StopTimeout time.Duration
	// HeadTimeout bounds the retries of one swap of the head; then the coordinator ends with an error. Default 10 min.
	HeadTimeout time.Duration
	// RetryInterval is the delay before storage is tried again; it doubles up to ten times as much. Default 1 s.
	RetryInterval time.Duration
	// CleanupTimeout bounds the wait for deletions at the end of the job. Default 30 s.
	CleanupTimeout time.Duration
	// CommitGrace, ResendInterval and ReserveIDs are handed to package checkpoint.
	CommitGrace    time.Duration
	ResendInterval time.Duration
	ReserveIDs     int64
}

// EnsureDefaults fills in what is unset.
func (o *Options) EnsureDefaults() {
	setDefault(&o.SlotTimeout, 5*time.Minute)
	setDefault(&o.DeployTimeout, 5*time.Minute)
	setDefault(&o.CancelTimeout, 30*time.Second)
	setDefault(&o.HeadTimeout, 10*time.Minute)
	setDefault(&o.RetryInterval, time.Second)
	setDefault(&o.CleanupTimeout, 30*time.Second)
	if o.StopTimeout == 0 {
		o.StopTimeout = stopTimeout(&o.Config)
	}
	if o.Plan.Slots == 0 {
		for _, v := range o.Plan.Vertices {
			o.Plan.Slots = max(o.Plan.Slots, v.Parallelism)
		}
	}
}

// stopTimeout is the default of StopTimeout.
func stopTimeout(c *contract.JobConfig) time.Duration {
	if c.Checkpointing != nil && c.Checkpointing.Timeout > 0 {
		return c.Checkpointing.Timeout.D()
	}
	return 10 * time.Minute
}

// Validate says what is wrong with the options, after EnsureDefaults.
func (o *Options) Validate() error {
	var errs []error
	bad := func(cond bool, format string, args ...any) {
		if cond {
			errs = append(errs, fmt.Errorf("checking job options: "+format, args...))
		}
	}
	bad(o.Config.JobID == "", "the job id is missing")
	bad(o.Grant < 1, "the grant must be at least 1, got %d", o.Grant)
	bad(o.Owner == "", "the owner is missing")
	bad(o.Rand == nil, "a source of random numbers is missing")
	bad(o.Restore == nil, "the restorer is missing")
	bad(o.Dir != "" && !strings.HasSuffix(o.Dir, "/"), "the directory %q must end in \"/\"", o.Dir)
	mode := o.Config.RestoreMode
	bad(mode != "" && mode != contract.NoClaim && mode != contract.Claim, "the restore mode %q is unknown: want %s or %s", mode, contract.NoClaim, contract.Claim)
	if _, err := NewStrategy(o.Config.Restart, o.Config.Checkpointing != nil); err != nil {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func setDefault[T comparable](p *T, v T) {
	var zero T
	if *p == zero {
		*p = v
	}
}
