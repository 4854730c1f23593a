// SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"fmt"
	"slices"
	"strings"
)

// Directory is that of a snapshot, given as such or by its manifest; it ends in "/".
func Directory(path string) string {
	p := strings.TrimSuffix(path, "/")
	if rest, ok := strings.CutSuffix(p, "/"+ManifestName); ok {
		p = rest
	}
	return strings.TrimSuffix(p, "/") + "/"
}

// committedUpTo is the newest snapshot that a transactional sink may have committed with; 0 for none.
func (h *Head) committedUpTo() int64 {
	return max(h.CommittedUpTo, h.named(func(c *CompletedCheckpoint) bool { return c.SinksMayHaveCommitted },
		func(o *Operation) bool { return o.SinksMayHaveCommitted }))
}

// trimmedUpTo is the newest snapshot that a source may have given up its input with; 0 for none.
func (h *Head) trimmedUpTo() int64 {
	return max(h.TrimmedUpTo, h.named(func(c *CompletedCheckpoint) bool { return c.SourcesMayHaveTrimmed },
		func(o *Operation) bool { return o.SourcesMayHaveTrimmed }))
}

// named is the newest snapshot of the head with a property; 0 for none.
func (h *Head) named(checkpoint func(*CompletedCheckpoint) bool, operation func(*Operation) bool) int64 {
	var id int64
	for i := range h.Checkpoints {
		if checkpoint(&h.Checkpoints[i]) {
			id = max(id, h.Checkpoints[i].ID)
		}
	}
	for i := range h.Operations {
		if operation(&h.Operations[i]) {
			id = max(id, h.Operations[i].Checkpoint)
		}
	}
	return id
}

// Remember completes a head that is to follow before: what snapshots say that it doesn't name any more, and nothing newer does, isn't forgotten.
func (h *Head) Remember(before *Head) {
	committed, trimmed := max(before.committedUpTo(), h.committedUpTo()), max(before.trimmedUpTo(), h.trimmedUpTo())
	h.CommittedUpTo, h.TrimmedUpTo = 0, 0
	if h.committedUpTo() < committed {
		h.CommittedUpTo = committed
	}
	if h.trimmedUpTo() < trimmed {
		h.TrimmedUpTo = trimmed
	}
}

// Rewind says what going back to an older snapshot of a job means.
type Rewind struct {
	Newest
	// Kind is "checkpoint" or "savepoint".
	Kind string
	// Committed is the newest snapshot after it that a transactional sink may have committed with, Trimmed the newest that a source may have given up
	// its input with; 0 for none.
	Committed, Trimmed int64
	// Outlived says that sinks may have given up what they had prepared with it; see [RoleOutlived].
	Outlived bool
	// Newer counts the snapshots after it that a recovery could start from.
	Newer int

	// operation is the index of the operation that wrote it; -1 for a retained checkpoint.
	operation int
}

// Safe is nil if going back doubles no output and loses no input; else it says why not.
func (r *Rewind) Safe() error {
	if r.Committed == 0 && r.Trimmed == 0 && !r.Outlived {
		return nil
	}
	return &UnsafeRewindError{Path: r.Path, Checkpoint: r.ID, Committed: r.Committed, Trimmed: r.Trimmed, Outlived: r.Outlived}
}

// UnsafeRewindError says that a job can't go back to a snapshot.
type UnsafeRewindError struct {
	// Path and Checkpoint are those of the snapshot.
	Path       string
	Checkpoint int64
	// Committed, Trimmed and Outlived are as in [Rewind].
	Committed, Trimmed int64
	Outlived           bool
}

// Error says why.
func (e *UnsafeRewindError) Error() string {
	if e.Committed > 0 {
		return fmt.Sprintf("going back to snapshot %d, %s: a transactional sink may have committed with snapshot %d, which came after it, and would write that again",
			e.Checkpoint, e.Path, e.Committed)
	}
	if e.Outlived {
		return fmt.Sprintf("going back to snapshot %d, %s: the job was restored from an older one since, with which a transactional sink may have given up what it had prepared with this one, and that would be missing",
			e.Checkpoint, e.Path)
	}
	return fmt.Sprintf("going back to snapshot %d, %s: a source may have given up its input up to snapshot %d, which came after it, and that would be missing",
		e.Checkpoint, e.Path, e.Trimmed)
}

// NotNamedError says that a head names no snapshot with that path.
type NotNamedError struct{ Path string }

// Error names the path.
func (e *NotNamedError) Error() string {
	return fmt.Sprintf("going back to %s: the head of the job names no such checkpoint, and no such savepoint among the operations that it remembers", e.Path)
}

// Rewind finds a snapshot of the job, a retained checkpoint or the savepoint of an operation, by its directory or its manifest, and says what going back to
// it means. A checkpoint that is subsumed isn't there any more, and a savepoint that turned out to be damaged doesn't count.
func (h *Head) Rewind(path string) (Rewind, error) {
	dir := Directory(path)
	r := Rewind{operation: -1}
	for _, c := range h.Checkpoints {
		if Directory(c.Path) == dir {
			r.Newest, r.Kind = Newest{ID: c.ID, Path: c.Path, ManifestCRC32C: c.ManifestCRC32C}, "checkpoint"
		}
	}
	for i, o := range h.Operations {
		if r.ID == 0 && o.Checkpoint > 0 && o.Type != OperationCheckpoint && o.Outcome != OutcomeFailed && Directory(o.Path) == dir {
			r.Newest, r.Kind, r.operation = Newest{ID: o.Checkpoint, Path: o.Path, ManifestCRC32C: o.ManifestCRC32C, Stop: o.Stop}, "savepoint", i
			r.Outlived = o.Role == RoleOutlived
		}
	}
	if r.ID == 0 {
		return Rewind{}, &NotNamedError{Path: path}
	}
	if id := h.committedUpTo(); id > r.ID {
		r.Committed = id
	}
	if id := h.trimmedUpTo(); id > r.ID {
		r.Trimmed = id
	}
	for _, n := range h.restorables() {
		if n.ID > r.ID {
			r.Newer++
		}
	}
	return r, nil
}

// RewindTo makes the head name the snapshot at path as the newest, and returns the checkpoints that it doesn't name any more. Ids go on ascending. It
// refuses what isn't safe, see [Rewind.Safe], and what the head doesn't name, and then leaves the head as it is. commits says that sinks of the job that is
// restored from it commit.
func (h *Head) RewindTo(path string, commits bool) ([]CompletedCheckpoint, error) {
	r, err := h.Rewind(path)
	if err != nil {
		return nil, err
	}
	if err := r.Safe(); err != nil {
		return nil, err
	}
	newer := func(c CompletedCheckpoint) bool { return c.ID > r.ID }
	var dropped []CompletedCheckpoint
	for _, c := range h.Checkpoints {
		if newer(c) {
			dropped = append(dropped, c)
		}
	}
	h.Checkpoints = slices.DeleteFunc(slices.Clone(h.Checkpoints), newer)
	h.Operations = slices.Clone(h.Operations)
	for i := range h.Operations {
		if o := &h.Operations[i]; o.Restorable() && o.Checkpoint > r.ID {
			o.Role = RoleLeftBehind
		}
	}
	if r.operation >= 0 {
		startFrom(&h.Operations[r.operation], commits)
	}
	return dropped, nil
}

// startFrom makes the savepoint of an operation one that a recovery starts from. The restore commits what sinks had prepared with it, if they do so.
func startFrom(o *Operation, commits bool) {
	o.Role = RoleUsual
	if !o.NamesStop() {
		o.Role, o.SinksMayHaveCommitted = RoleRewound, o.SinksMayHaveCommitted || commits
	}
}

// Outlive is for when a job whose sinks commit is restored from a snapshot, 0 for none: the sinks give up what they have prepared since, which is also what
// savepoints hold that are newer.
func (h *Head) Outlive(restored int64) {
	h.Operations = slices.Clone(h.Operations)
	for i := range h.Operations {
		if o := &h.Operations[i]; o.Type == OperationSavepoint && o.Checkpoint > restored && o.Role == RoleUsual && o.Outcome != OutcomeFailed {
			o.Role = RoleOutlived
		}
	}
}

// LeaveBehind is for when the checkpoints of a job are deleted on request: a savepoint that is older than one of them is no state to go on from, since
// the job had come further.
func (h *Head) LeaveBehind(deleted []CompletedCheckpoint) {
	var newest int64
	for _, c := range deleted {
		newest = max(newest, c.ID)
	}
	h.Operations = slices.Clone(h.Operations)
	for i := range h.Operations {
		if o := &h.Operations[i]; o.Restorable() && o.Checkpoint < newest {
			o.Role = RoleLeftBehind
		}
	}
}
