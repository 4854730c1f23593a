// SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
)

// headEnvelope is what the object holds: the head, and the CRC32C of its bytes.
type headEnvelope struct {
	Checksum string          `json:"checksum"`
	Head     json.RawMessage `json:"head"`
}

// EncodeHead returns the object that holds the head.
func EncodeHead(h Head) ([]byte, error) {
	h.Format = h.format()
	if err := h.validate(); err != nil {
		return nil, fmt.Errorf("encoding the head: %w", err)
	}
	inner, err := json.Marshal(h)
	if err != nil {
		return nil, fmt.Errorf("encoding the head: %w", err)
	}
	out, err := json.Marshal(headEnvelope{Checksum: fmt.Sprintf("%08x", Checksum(inner)), Head: inner})
	if err != nil {
		return nil, fmt.Errorf("encoding the head: %w", err)
	}
	if len(out) > MaxHeadSize {
		return nil, fmt.Errorf("encoding the head: %d bytes are more than %d", len(out), MaxHeadSize)
	}
	return append(out, '\n'), nil
}

// DecodeHead reads what EncodeHead wrote. Any damage is found.
func DecodeHead(b []byte) (Head, error) {
	if len(b) > MaxHeadSize+1 {
		return Head{}, fmt.Errorf("decoding the head: %d bytes are more than %d", len(b), MaxHeadSize)
	}
	var env headEnvelope
	if err := strict(b, &env); err != nil {
		return Head{}, damagedHead("it can't be parsed: %v", err)
	}
	if got := fmt.Sprintf("%08x", Checksum(env.Head)); got != env.Checksum {
		return Head{}, damagedHead("its checksum is %s and it says %.16q", got, env.Checksum)
	}
	var version struct {
		Format int `json:"format"`
	}
	if err := json.Unmarshal(env.Head, &version); err != nil {
		return Head{}, fmt.Errorf("decoding the head: %w", err)
	}
	if version.Format < 1 || version.Format > HeadFormat {
		return Head{}, fmt.Errorf("decoding the head: it has format %d and this version reads formats up to %d: use the version that wrote it, or a newer one",
			version.Format, HeadFormat)
	}
	var h Head
	if err := strict(env.Head, &h); err != nil {
		return Head{}, fmt.Errorf("decoding the head: %w", err)
	}
	if err := h.validate(); err != nil {
		return Head{}, fmt.Errorf("decoding the head: %w", err)
	}
	if h.format() > h.Format && !h.fromFormat1() {
		return Head{}, damagedHead("its content takes format %d, and it says %d", h.format(), h.Format)
	}
	return h, nil
}

// format is the oldest format that has all that the head holds. Format 1 doesn't say whether sinks can have committed with the savepoint of a stop.
func (h *Head) format() int {
	if h.CommittedUpTo > 0 || h.TrimmedUpTo > 0 || (h.Origin != nil && h.Origin.Claim != NotClaimed) ||
		slices.ContainsFunc(h.Checkpoints, func(c CompletedCheckpoint) bool { return c.SourcesMayHaveTrimmed }) ||
		slices.ContainsFunc(h.Operations, func(o Operation) bool { return o.SourcesMayHaveTrimmed || o.Role != RoleUsual }) {
		return 3
	}
	if slices.ContainsFunc(h.Checkpoints, func(c CompletedCheckpoint) bool { return c.Shared }) ||
		slices.ContainsFunc(h.Operations, Operation.NamesStop) ||
		slices.ContainsFunc(h.Operations, func(o Operation) bool { return o.SinksMayHaveCommitted }) ||
		slices.ContainsFunc(h.Restores, func(r Restore) bool { return len(r.Regions) > 0 || len(r.LeftOut) > 0 }) {
		return 2
	}
	return 1
}

// fromFormat1 fills in what a head of format 1 doesn't say, to be on the safe side: sinks may have committed with every stop. It says whether that explains why the content
// takes a newer format.
func (h *Head) fromFormat1() bool {
	plain := h.Clone()
	plain.Operations = slices.DeleteFunc(plain.Operations, func(o Operation) bool { return o.NamesStop() && !o.SinksMayHaveCommitted })
	if plain.format() > 1 {
		return false
	}
	for i := range h.Operations {
		if h.Operations[i].NamesStop() {
			h.Operations[i].SinksMayHaveCommitted = true
		}
	}
	return true
}

// strict refuses unknown fields and anything behind the value.
func strict(b []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return err
	}
	if _, err := d.Token(); err == nil {
		return errors.New("there is more than one value")
	}
	return nil
}

// validate checks the bounds that keep a head small and consistent.
func (h *Head) validate() error {
	switch {
	case h.Seq < 1:
		return fmt.Errorf("its seq is %d, below 1", h.Seq)
	case h.Owner == "" || len(h.Owner) > MaxHeadText:
		return errors.New("its owner is missing or too long")
	case h.JobID == "" || len(h.JobID) > MaxHeadText:
		return errors.New("its job id is missing or too long")
	case h.Epoch.Grant < 1 || h.Epoch.N < 1:
		return fmt.Errorf("its epoch %d-%d is not valid", h.Epoch.Grant, h.Epoch.N)
	case len(h.Checkpoints) > MaxHeadCheckpoints, len(h.Operations) > MaxHeadOperations,
		len(h.Restores) > MaxHeadRestores, len(h.Restarts.Failures) > MaxHeadFailures:
		return errors.New("it names more checkpoints, operations, restores or failures than it may")
	}
	if err := h.validateRoles(); err != nil {
		return err
	}
	last := int64(0)
	for _, c := range h.Checkpoints {
		if c.ID <= last {
			return fmt.Errorf("its checkpoints don't ascend: %d after %d", c.ID, last)
		}
		last = c.ID
	}
	return nil
}

// validateRoles checks what says which snapshots are to be restored from.
func (h *Head) validateRoles() error {
	for _, o := range h.Operations {
		if !slices.Contains([]RecoveryRole{RoleUsual, RoleRewound, RoleLeftBehind, RoleOutlived}, o.Role) {
			return fmt.Errorf("operation %q has the unknown role %q", o.ID, o.Role)
		}
	}
	if h.Origin == nil {
		return nil
	}
	switch h.Origin.Claim {
	case NotClaimed, Claimed, Released, Deleted:
		return nil
	default:
		return fmt.Errorf("its origin has the unknown claim %q", h.Origin.Claim)
	}
}

func damagedHead(format string, args ...any) error {
	return &CorruptError{Object: "head.json", Detail: fmt.Sprintf(format, args...)}
}
