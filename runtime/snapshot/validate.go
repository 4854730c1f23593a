// SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/weir-stream/weir/runtime/operator"
	"github.com/weir-stream/weir/runtime/record"
	"github.com/weir-stream/weir/runtime/state"
)

// Validate says what is wrong with the manifest, naming operator and subtask.
func (m *Manifest) Validate() error {
	switch {
	case m.JobID == "":
		return errors.New("the job id is missing")
	case m.Checkpoint < 1:
		return fmt.Errorf("the id of the snapshot is %d and must be 1 or more", m.Checkpoint)
	case m.Kind > record.Savepoint:
		return fmt.Errorf("the kind of snapshot %d is unknown", m.Kind)
	case m.Stop > record.StopDrain:
		return fmt.Errorf("the stop mode %d is unknown", m.Stop)
	case m.MaxParallelism < 1 || m.MaxParallelism > MaxKeyGroups:
		return fmt.Errorf("max parallelism is %d and must be 1 to %d", m.MaxParallelism, MaxKeyGroups)
	}
	for i := range m.Operators {
		o := &m.Operators[i]
		if i > 0 && o.Name <= m.Operators[i-1].Name {
			return fmt.Errorf("operators %q and %q are out of order or the same", m.Operators[i-1].Name, o.Name)
		}
		if err := o.validate(m.MaxParallelism); err != nil {
			return fmt.Errorf("checking operator %q: %w", o.Name, err)
		}
	}
	return m.validatePaths()
}

// validatePaths finds files that several subtasks or operators claim.
func (m *Manifest) validatePaths() error {
	seen := map[string]bool{}
	for _, f := range m.Files() {
		if seen[f.Path] {
			return fmt.Errorf("checking operator %q: file %q is listed more than once", f.Operator, f.Path)
		}
		seen[f.Path] = true
	}
	for _, f := range m.ChannelFiles() {
		if seen[f.Path] {
			return fmt.Errorf("checking operator %q: file %q of channel state is listed as another one, too", f.Operator, f.Path)
		}
		if err := f.validate(); err != nil {
			return fmt.Errorf("checking operator %q: %w", f.Operator, err)
		}
	}
	return nil
}

func (o *OperatorState) validate(groups int) error {
	switch {
	case o.Name == "" || len(o.Name) > MaxNameLength:
		return fmt.Errorf("its name has %d bytes and must have 1 to %d", len(o.Name), MaxNameLength)
	case o.Parallelism < 1 || o.Parallelism > MaxKeyGroups:
		return fmt.Errorf("its parallelism is %d and must be 1 to %d", o.Parallelism, MaxKeyGroups)
	case len(o.Subtasks) > o.Parallelism:
		return fmt.Errorf("it has %d subtasks at parallelism %d", len(o.Subtasks), o.Parallelism)
	}
	for i := range o.Subtasks {
		s := &o.Subtasks[i]
		if s.Index < 0 || s.Index >= o.Parallelism {
			return fmt.Errorf("subtask %d is outside of parallelism %d", s.Index, o.Parallelism)
		}
		if i > 0 && s.Index <= o.Subtasks[i-1].Index {
			return fmt.Errorf("subtasks %d and %d are out of order or the same", o.Subtasks[i-1].Index, s.Index)
		}
		if err := s.validate(o.Parallelism, groups); err != nil {
			return fmt.Errorf("checking subtask %d: %w", s.Index, err)
		}
	}
	return nil
}

func (s *SubtaskState) validate(parallelism, groups int) error {
	if len(s.Keyed) > 0 && parallelism > groups {
		return fmt.Errorf("it has keyed state, but parallelism %d is above max parallelism %d", parallelism, groups)
	}
	for _, f := range s.Keyed {
		if err := validFile(f); err != nil {
			return err
		}
		first, last := state.GroupRange(s.Index, parallelism, groups)
		if f.FirstGroup > f.LastGroup || f.FirstGroup < first || f.LastGroup > last {
			return fmt.Errorf("file %q has key groups %d to %d, outside of those of the subtask, %d to %d",
				f.Path, f.FirstGroup, f.LastGroup, first, last)
		}
	}
	for i := range s.Channels {
		if err := s.Channels[i].validate(); err != nil {
			return err
		}
	}
	names := map[string]bool{}
	for _, l := range s.Lists {
		switch {
		case l.Name == "" || len(l.Name) > MaxNameLength:
			return fmt.Errorf("the name of a list has %d bytes and must have 1 to %d", len(l.Name), MaxNameLength)
		case l.Mode > operator.Broadcast:
			return fmt.Errorf("list %q has the unknown mode %d", l.Name, l.Mode)
		case names[l.Name]:
			return fmt.Errorf("list %q is there more than once", l.Name)
		}
		names[l.Name] = true
	}
	return nil
}

func validFile(f state.File) error {
	if name, ok := strings.CutPrefix(f.Path, SharedPrefix); ok || f.Shared {
		switch {
		case !ok || !f.Shared:
			return fmt.Errorf("file %q: a file is shared if, and only if, its path begins with %q", f.Path, SharedPrefix)
		case strings.Contains(name, "/"):
			return fmt.Errorf("file %q is not right below %q", f.Path, SharedPrefix)
		case f.Index:
			return fmt.Errorf("file %q is an index and can't be shared", f.Path)
		}
		f.Path = name
	}
	switch {
	case f.Reused:
		return fmt.Errorf("file %q is marked as reused, which only an acknowledgement says", f.Path)
	case f.Path == "" || len(f.Path) > MaxPathLength:
		return fmt.Errorf("the path of a file has %d bytes and must have 1 to %d", len(f.Path), MaxPathLength)
	case path.IsAbs(f.Path) || path.Clean(f.Path) != f.Path || f.Path == "." || f.Path == ManifestName ||
		f.Path == ".." || strings.HasPrefix(f.Path, "../") || strings.ContainsAny(f.Path, "\\\x00"):
		return fmt.Errorf("file %q is not a clean path below the directory of the snapshot", f.Path)
	case f.Size < 0:
		return fmt.Errorf("file %q has size %d", f.Path, f.Size)
	}
	return nil
}

// FileRef is a file of a snapshot and whose it is.
type FileRef struct {
	state.File
	Operator string
	Subtask  int
}

// Files lists all files of keyed state, in order of operator and subtask. For those of channel state see [Manifest.ChannelFiles].
func (m *Manifest) Files() []FileRef {
	var out []FileRef
	for i := range m.Operators {
		o := &m.Operators[i]
		for j := range o.Subtasks {
			for _, f := range o.Subtasks[j].Keyed {
				out = append(out, FileRef{File: f, Operator: o.Name, Subtask: o.Subtasks[j].Index})
			}
		}
	}
	return out
}

// Size is the sum of the sizes of all files, without the manifest.
func (m *Manifest) Size() int64 {
	var n int64
	for _, f := range m.Files() {
		n += f.Size
	}
	for _, f := range m.ChannelFiles() {
		n += f.Size
	}
	return n
}

// StateSize is the size of all state: [Manifest.Size], and the entries of lists, which are in the manifest itself. It is what a job says of the
// snapshot when it takes it.
func (m *Manifest) StateSize() int64 {
	n := m.Size()
	for i := range m.Operators {
		for j := range m.Operators[i].Subtasks {
			for _, l := range m.Operators[i].Subtasks[j].Lists {
				for _, e := range l.Entries {
					n += int64(len(e))
				}
			}
		}
	}
	return n
}

// Empty says that the operator left nothing that a restore would miss.
func (o *OperatorState) Empty() bool {
	for i := range o.Subtasks {
		if len(o.Subtasks[i].Keyed) > 0 || len(o.Subtasks[i].Channels) > 0 {
			return false
		}
		for _, l := range o.Subtasks[i].Lists {
			if len(l.Entries) > 0 {
				return false
			}
		}
	}
	return true
}
