// SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
)

// maxLeftOutReason bounds what a [LeftOut] says, in bytes.
const maxLeftOutReason = 512

// restorable is a snapshot of the head that a recovery can start from.
type restorable struct {
	Newest
	kind               string
	committed, trimmed bool
}

// restorables lists the completed checkpoints and the savepoints of stops, newest first.
func (h *Head) restorables() []restorable {
	var all []restorable
	for _, c := range h.Checkpoints {
		all = append(all, restorable{Newest{ID: c.ID, Path: c.Path, ManifestCRC32C: c.ManifestCRC32C}, "checkpoint", c.SinksMayHaveCommitted, c.SourcesMayHaveTrimmed})
	}
	for _, o := range h.Operations {
		if o.Restorable() {
			n := Newest{ID: o.Checkpoint, Path: o.Path, ManifestCRC32C: o.ManifestCRC32C, Stop: o.Stop}
			all = append(all, restorable{n, "savepoint", o.SinksMayHaveCommitted, o.SourcesMayHaveTrimmed})
		}
	}
	slices.SortStableFunc(all, func(a, b restorable) int { return cmp.Compare(b.ID, a.ID) })
	return all
}

// FallBack returns the newest snapshot that isn't damaged and those that it leaves out, newest first. damaged says what is wrong, by id.
// It refuses when a transactional sink can have committed with one that would be left out, since what it committed would come again; when a source
// can have given up its input with one, since that could not be read again; and when there is nothing older. The error says so and what can be
// done. Without any damage it is [Head.Newest].
func (h *Head) FallBack(damaged map[int64]string) (Newest, []LeftOut, error) {
	var out []LeftOut
	for _, r := range h.restorables() {
		why, bad := damaged[r.ID]
		if !bad {
			return r.Newest, out, h.effectsAfter(r, out)
		}
		if r.committed {
			return Newest{}, nil, fmt.Errorf("%s %d can't be left out, although it is damaged: a transactional sink can have committed with it, and going back "+
				"behind it would write that again; put back its objects from a backup, or start a new job from an older snapshot and accept the duplicates", r.kind, r.ID)
		}
		if r.trimmed {
			return Newest{}, nil, fmt.Errorf("%s %d can't be left out, although it is damaged: a source can have given up its input up to it, and going back "+
				"behind it would leave that out; put back its objects from a backup, or start a new job from an older snapshot and accept the loss", r.kind, r.ID)
		}
		out = append(out, LeftOut{Checkpoint: r.ID, Path: r.Path, Reason: cut(why, maxLeftOutReason)})
	}
	if len(out) == 0 {
		return Newest{}, nil, errors.New("the head names no snapshot")
	}
	return Newest{}, nil, fmt.Errorf("no older snapshot is left to fall back to, behind %d damaged: restore from a savepoint, put back the objects "+
		"from a backup, and keep more checkpoints (retention.count)", len(out))
}

// effectsAfter refuses to go back to r, leaving others out, if one in between that the head doesn't name any more can have had effects outside.
func (h *Head) effectsAfter(r restorable, out []LeftOut) error {
	switch {
	case len(out) == 0:
		return nil
	case h.committedUpTo() > r.ID:
		return fmt.Errorf("%s %d is too old to fall back to: a transactional sink can have committed with checkpoint %d, which came after it, and that would be "+
			"written again; start a new job from it and accept the duplicates", r.kind, r.ID, h.committedUpTo())
	case h.trimmedUpTo() > r.ID:
		return fmt.Errorf("%s %d is too old to fall back to: a source can have given up its input up to checkpoint %d, which came after it; "+
			"start a new job from it and accept the loss", r.kind, r.ID, h.trimmedUpTo())
	default:
		return nil
	}
}

// LeaveOut makes the head stop naming damaged snapshots; their files are not touched. The operation of a stop remains, as failed.
func (h *Head) LeaveOut(out []LeftOut) {
	left := func(id int64) int { return slices.IndexFunc(out, func(l LeftOut) bool { return l.Checkpoint == id }) }
	h.Checkpoints = slices.DeleteFunc(slices.Clone(h.Checkpoints), func(c CompletedCheckpoint) bool { return left(c.ID) >= 0 })
	h.Operations = slices.Clone(h.Operations)
	for i := range h.Operations {
		o := &h.Operations[i]
		if k := left(o.Checkpoint); k >= 0 && o.Restorable() {
			o.Outcome, o.Error = OutcomeFailed, "its savepoint is damaged, and the job went back behind it: "+out[k].Reason
		}
	}
}

// cut shortens a text to n bytes.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && s[n]&0xc0 == 0x80 {
		n--
	}
	return s[:n] + "…"
}
