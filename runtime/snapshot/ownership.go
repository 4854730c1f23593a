// SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"encoding/json"
	"errors"
	"fmt"
)

// OwnerName is the name of the object in the directory of a snapshot that says which job owns it. It is created only if absent, so that one job alone can
// claim a snapshot, and is the last object of a snapshot that is deleted.
const OwnerName = "_owner"

// ownerFormat is the version of the encoding of an [Owner].
const ownerFormat = 1

// maxOwnerSize is the largest one that is read.
const maxOwnerSize = 16 << 10

// Owner is the job that claimed a snapshot.
type Owner struct {
	// Format is the version of this encoding.
	Format int `json:"format"`
	// JobID is that of the job, Job its namespace and name for people.
	JobID string `json:"jobID"`
	Job   string `json:"job,omitempty"`
}

// EncodeOwner returns the object that makes a job the owner of a snapshot: always the same bytes for the same job.
func EncodeOwner(jobID, job string) ([]byte, error) {
	if jobID == "" {
		return nil, errors.New("encoding the owner of a snapshot: the job id is missing")
	}
	b, err := json.Marshal(Owner{Format: ownerFormat, JobID: jobID, Job: job})
	if err != nil {
		return nil, fmt.Errorf("encoding the owner of a snapshot: %w", err)
	}
	return append(b, '\n'), nil
}

// DecodeOwner reads what EncodeOwner wrote.
func DecodeOwner(b []byte) (Owner, error) {
	if len(b) > maxOwnerSize {
		return Owner{}, fmt.Errorf("reading the owner of a snapshot: %d bytes are more than %d", len(b), maxOwnerSize)
	}
	var o Owner
	if err := strict(b, &o); err != nil {
		return Owner{}, fmt.Errorf("reading the owner of a snapshot: %w", err)
	}
	switch {
	case o.Format != ownerFormat:
		return Owner{}, fmt.Errorf("reading the owner of a snapshot: it has format %d, and this version reads %d: use the version of Weir that wrote it, or a newer one", o.Format, ownerFormat)
	case o.JobID == "":
		return Owner{}, errors.New("reading the owner of a snapshot: it names no job")
	}
	return o, nil
}

// CheckClaim says why a job can't claim a snapshot with that manifest: what refers to files that others use isn't one job's alone.
func (m *Manifest) CheckClaim() error {
	for _, f := range m.Files() {
		if f.Shared {
			return &ClaimError{Why: fmt.Sprintf("it refers to files that other checkpoints of job %s may use: claim a savepoint, or start without a claim", m.JobID)}
		}
	}
	return nil
}

// ClaimError says why a job can't claim a snapshot.
type ClaimError struct {
	// Why is a sentence without a subject.
	Why string
}

// Error says why.
func (e *ClaimError) Error() string { return "the snapshot can't be claimed: " + e.Why }

// ReleasedError says that the snapshot to start from was the job's own, and that the job has deleted it.
type ReleasedError struct{ Path string }

// Error names the snapshot.
func (e *ReleasedError) Error() string {
	return fmt.Sprintf("the snapshot %s was claimed by this job, which has deleted it since: start from another one", e.Path)
}

// CheckAgain says why a job that once started from o can't start from the snapshot at path, after its own state was deleted on request.
func (o *Origin) CheckAgain(path string) error {
	if o == nil || o.Usable() || Directory(o.Path) != Directory(path) {
		return nil
	}
	return &ReleasedError{Path: path}
}

// DropOrigin is for when the state of a job is deleted on request: what it started from isn't its state any more either. If the job owns it, it is to be
// deleted as well.
func (h *Head) DropOrigin() {
	switch {
	case h.Origin == nil:
	case h.Origin.Claim == NotClaimed:
		h.Origin = nil
	case h.Origin.Claim == Claimed:
		h.Origin = new(*h.Origin)
		h.Origin.Claim = Released
	}
}
