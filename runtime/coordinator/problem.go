// SPDX-License-Identifier: Apache-2.0

package coordinator

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/weir-stream/weir/runtime/contract"
	"github.com/weir-stream/weir/runtime/snapshot"
	"github.com/weir-stream/weir/runtime/snapshot/assign"
	"github.com/weir-stream/weir/runtime/storage"
)

// InvalidJobError says that the graph of a job can't be built or planned. Only another configuration or program helps.
type InvalidJobError struct{ Err error }

// Error returns the cause.
func (e *InvalidJobError) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *InvalidJobError) Unwrap() error { return e.Err }

// RetainedError says that storage holds the state of another job of the same namespace and name, which must not be ignored.
type RetainedError struct {
	// Found is that job.
	Found Found
}

// Error names the job.
func (e *RetainedError) Error() string {
	return fmt.Sprintf("storage holds the state of job %s of the same name, which was claimed last with grant %d", e.Found.JobID, e.Found.Head.Epoch.Grant)
}

// GoneError says that storage has no state of a job that had some.
type GoneError struct{ JobID, Location string }

// Error names the job and the place.
func (e *GoneError) Error() string {
	return fmt.Sprintf("the state of job %s is not in %s", e.JobID, e.Location)
}

// elsewhereError says that the snapshot to restore from is not in the storage of the job.
type elsewhereError struct{ path, location string }

// Error names the snapshot and the storage.
func (e *elsewhereError) Error() string {
	return fmt.Sprintf("preparing the job: the snapshot %s to restore from is not in the job's storage %s: copy it there, or give the job the storage that has it",
		e.path, e.location)
}

// ProblemOf classifies an error of [Coordinator.Run], [Check], [Fence], [Dispose], or of opening a storage. JobID and what the head says are
// left out, except for a [RetainedError].
func ProblemOf(err error) *contract.Problem {
	p := problemOf(err)
	p.Message = snapshot.CutText(p.Message, snapshot.MaxHeadText)
	return p
}

func problemOf(err error) *contract.Problem {
	p := &contract.Problem{Reason: contract.Internal, Message: err.Error()}
	if e, ok := errors.AsType[*RetainedError](err); ok {
		p.Reason, p.JobID, p.HeadGrant, p.HeadFinal = contract.RetainedState, e.Found.JobID, e.Found.Head.Epoch.Grant, headFinal(&e.Found.Head)
		p.Remedy = "go on from it with its job id and a higher grant, or use another name or prefix"
		return p
	}
	if _, ok := errors.AsType[*GoneError](err); ok {
		p.Reason, p.Remedy = contract.RestoreNotFound, "bring it back, or start another job"
		return p
	}
	if _, ok := errors.AsType[*elsewhereError](err); ok {
		p.Reason = contract.RestoreNotFound
		return p
	}
	if _, ok := errors.AsType[*snapshot.UnsafeRewindError](err); ok {
		p.Reason, p.Remedy = contract.RewindUnsafe, "go on from the newest state, or start a new job from the snapshot and accept what is said"
		return p
	}
	if _, ok := errors.AsType[*snapshot.ClaimError](err); ok {
		p.Reason = contract.RestoreClaimed
		return p
	}
	if _, ok := errors.AsType[*snapshot.ReleasedError](err); ok {
		p.Reason = contract.RestoreNotFound
		return p
	}
	if _, ok := errors.AsType[*snapshot.NotNamedError](err); ok {
		p.Reason, p.Remedy = contract.RestoreNotFound, "go on from the newest state, or start a new job from the snapshot"
		return p
	}
	if _, ok := errors.AsType[*InvalidJobError](err); ok {
		p.Reason, p.Remedy = contract.InvalidJob, "correct the job"
		return p
	}
	if _, ok := errors.AsType[*assign.IncompatibleError](err); ok {
		p.Reason = contract.IncompatibleState
		return p
	}
	if _, ok := errors.AsType[*snapshot.CorruptError](err); ok {
		p.Reason, p.Remedy = contract.RestoreCorrupt, "weir snapshot verify says what is damaged"
		return p
	}
	if errors.Is(err, snapshot.ErrFenced) {
		p.Reason, p.Remedy = contract.Fenced, "a newer coordinator owns the job: end this one"
		return p
	}
	p.Reason = storageProblem(err)
	if e, ok := errors.AsType[*storage.Error](err); ok && e.Remedy != "" {
		if cause, found := strings.CutSuffix(p.Message, ": "+e.Remedy); found {
			p.Message, p.Remedy = cause, e.Remedy
		}
	}
	return p
}

// storageProblem classifies what remains.
func storageProblem(err error) contract.ProblemReason {
	switch storage.ReasonOf(err) {
	case storage.Missing:
		return contract.StorageNotFound
	case storage.AccessDenied:
		return contract.StorageAccessDenied
	case storage.Unsuitable:
		return contract.StorageUnsuitable
	case storage.Misconfigured:
		return contract.InvalidJob
	case storage.Unclassified:
	}
	if errors.Is(err, storage.ErrNotFound) {
		return contract.RestoreNotFound
	}
	_, ofStore := errors.AsType[*storage.Error](err)
	_, ofNet := errors.AsType[net.Error](err)
	if ofStore || ofNet || errors.Is(err, context.DeadlineExceeded) {
		return contract.StorageUnavailable
	}
	return contract.Internal
}
