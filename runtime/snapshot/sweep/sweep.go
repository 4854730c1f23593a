// SPDX-License-Identifier: Apache-2.0

package sweep

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/weir-stream/weir/runtime/snapshot"
	"github.com/weir-stream/weir/runtime/storage"
)

// MinGrace is the age from which an object that nothing refers to may be taken for an orphan: no snapshot that it belongs to can be committed any
// more. An hour is for the clocks of coordinator, storage and sweeper, which may differ.
const MinGrace = snapshot.CommitGrace + time.Hour

// snapshotDirs are what a sweep looks at in the directory of a job.
var snapshotDirs = []string{"checkpoints/", "shared/"}

// deleteBatch is how many objects are deleted between two looks at the head.
const deleteBatch = 500

// Options say how to sweep.
type Options struct {
	// Grace is how old an object must be, by the clock of storage. Default and least MinGrace.
	Grace time.Duration
	// DryRun deletes nothing.
	DryRun bool
	// Savepoints is the directory below which the job takes savepoints, ending in "/"; those that were never completed there are reported. Empty for not.
	Savepoints string
	// Now gives the time. Mandatory.
	Now func() time.Time
}

// Orphan is an object, or all objects of a checkpoint, that nothing refers to.
type Orphan struct {
	// Path is that of the object, or the directory of the checkpoint, which ends in "/".
	Path    string `json:"path"`
	Objects int    `json:"objects"`
	Bytes   int64  `json:"bytes"`
	// Modified is when the newest object was written.
	Modified time.Time `json:"modified"`
	// Reason says why it is an orphan.
	Reason string `json:"reason"`
	keys   []string
}

// Report says what was found.
type Report struct {
	JobID string `json:"jobID"`
	// Checkpoints that the head names, and Pins.
	Checkpoints int `json:"checkpoints"`
	Pins        int `json:"pins,omitempty"`
	// Kept objects are needed, Young ones may belong to a snapshot that is being taken.
	Kept  int `json:"kept"`
	Young int `json:"young,omitempty"`
	// Orphans in order of their paths. Deleted says whether they have been deleted.
	Orphans []Orphan `json:"orphans,omitempty"`
	Deleted bool     `json:"deleted"`
	// Unfinished are directories of savepoints that were never completed and can't be any more, in order of their paths. They are not deleted: what lies among
	// savepoints belongs to users.
	Unfinished []Orphan `json:"unfinished,omitempty"`
	// Notes say what could not be looked into, and stays.
	Notes []string `json:"notes,omitempty"`
}

// Totals counts the objects of all orphans, and their bytes.
func (r *Report) Totals() (objects int, bytes int64) {
	for _, o := range r.Orphans {
		objects += o.Objects
		bytes += o.Bytes
	}
	return objects, bytes
}

// CheckGrace says what is wrong with a grace, see [Options].
func CheckGrace(grace time.Duration) error {
	if grace < MinGrace {
		return fmt.Errorf("a grace of %v is too short: a checkpoint may still be committed with files of that age; give at least %v", grace, MinGrace)
	}
	return nil
}

// sweeping begins the errors about the directory of a job.
func sweeping(dir string) string { return strings.TrimSpace("sweeping " + dir) }

// Sweep finds the orphans in the directory of a job, which is empty or ends in "/", and deletes them. The error says why that can't be done
// safely, then nothing was deleted; or why it could not be brought to its end, then repeating it goes on.
func Sweep(ctx context.Context, s storage.Store, dir string, o Options) (*Report, error) {
	if o.Grace == 0 {
		o.Grace = MinGrace
	}
	if err := CheckGrace(o.Grace); err != nil {
		return nil, fmt.Errorf("%s: %w", sweeping(dir), err)
	}
	h, k, err := look(ctx, s, dir)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", sweeping(dir), err)
	}
	r := &Report{JobID: h.JobID, Checkpoints: len(h.Checkpoints), Notes: k.notes}
	before := o.Now().Add(-o.Grace)
	if err := k.find(ctx, s, r, before); err != nil {
		return nil, fmt.Errorf("%s: %w", sweeping(dir), err)
	}
	if o.Savepoints != "" {
		if r.Unfinished, err = unfinished(ctx, s, o.Savepoints+snapshot.SavepointDirPrefix(h.JobID), before); err != nil {
			return nil, fmt.Errorf("%s: %w", sweeping(dir), err)
		}
	}
	if pins, err := readPins(ctx, s, dir); err == nil {
		r.Pins = len(pins)
	}
	if o.DryRun || len(r.Orphans) == 0 {
		return r, nil
	}
	if err := deleteOrphans(ctx, s, dir, r); err != nil {
		return r, fmt.Errorf("%s: %w", sweeping(dir), err)
	}
	r.Deleted = true
	return r, nil
}

// look reads the head and all that it leads to.
func look(ctx context.Context, s store, dir string) (*snapshot.Head, *keep, error) {
	b, _, err := s.Get(ctx, dir+snapshot.HeadName)
	if errors.Is(err, storage.ErrNotFound) {
		return nil, nil, headless(ctx, s, dir, err)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("reading the head: %w", err)
	}
	h, err := snapshot.DecodeHead(b)
	if err != nil {
		return nil, nil, fmt.Errorf("reading the head: %w", err)
	}
	k := newKeep(dir)
	if err := k.head(ctx, s, &h); err != nil {
		return nil, nil, err
	}
	pins, err := readPins(ctx, s, dir)
	if err != nil {
		return nil, nil, err
	}
	for _, p := range pins {
		if err := k.pin(ctx, s, p); err != nil {
			return nil, nil, err
		}
	}
	return &h, k, nil
}

// headless says what is wrong with a directory that has no head. No attempt of a job writes anything before the head is claimed, and the head is never deleted. So what
// is there without one belongs to a job whose head was lost: perhaps all that is left of its state, which is not for a sweep to judge.
func headless(ctx context.Context, s storage.Lister, dir string, cause error) error {
	n := 0
	for _, below := range snapshotDirs {
		err := s.List(ctx, dir+below, func(storage.Object) error {
			n++
			return nil
		})
		if err != nil {
			return fmt.Errorf("there is no %s, listing %s: %w", snapshot.HeadName, dir+below, err)
		}
	}
	if n == 0 {
		return fmt.Errorf("there is no %s: give the directory of one job, <prefix>/<namespace>/<name>/<job id>: %w", snapshot.HeadName, cause)
	}
	return fmt.Errorf("there is no %s, but the directory has snapshots, %d objects, which may be all that is left of the state of a job: nothing is deleted: "+
		"put the head back, or start a job with restoreFrom one of the snapshots and then delete the directory yourself: %w", snapshot.HeadName, n, cause)
}

// find sorts the objects of the job. A checkpoint that nothing refers to is one orphan; it is young as long as any of its objects is.
func (k *keep) find(ctx context.Context, s storage.Lister, r *Report, before time.Time) error {
	whole := map[string]*Orphan{}
	take := func(o storage.Object) error {
		dir := k.checkpointDir(o.Key)
		switch {
		case k.holds(o.Key):
			r.Kept++
		case dir != "" && !k.listed[dir]:
			w := whole[dir]
			if w == nil {
				w = &Orphan{Path: dir, Reason: "the head doesn't name this checkpoint"}
				whole[dir] = w
			}
			w.add(o)
		case !o.ModTime.Before(before):
			r.Young++
		default:
			n := Orphan{Path: o.Key, Reason: "no checkpoint that is kept refers to it"}
			if dir != "" {
				n.Reason = "the manifest of its checkpoint doesn't list it"
			}
			n.add(o)
			r.Orphans = append(r.Orphans, n)
		}
		return nil
	}
	for _, below := range snapshotDirs {
		if err := s.List(ctx, k.dir+below, take); err != nil {
			return fmt.Errorf("listing %s: %w", k.dir+below, err)
		}
	}
	for _, w := range whole {
		if w.Modified.Before(before) {
			r.Orphans = append(r.Orphans, *w)
		} else {
			r.Young += w.Objects
		}
	}
	slices.SortFunc(r.Orphans, func(a, b Orphan) int { return strings.Compare(a.Path, b.Path) })
	return nil
}

func (w *Orphan) add(o storage.Object) {
	w.keys = append(w.keys, o.Key)
	w.Objects++
	w.Bytes += o.Size
	if o.ModTime.After(w.Modified) {
		w.Modified = o.ModTime
	}
}

// deleteOrphans deletes what was found, unless the head, which is read again before each batch, leads to it meanwhile. Of a checkpoint the manifest
// goes first, so that what is left of one after an interruption can't be taken for a whole one.
func deleteOrphans(ctx context.Context, s storage.Store, dir string, r *Report) error {
	var keys []string
	for _, o := range r.Orphans {
		i := slices.Index(o.keys, o.Path+snapshot.ManifestName)
		if i > 0 {
			o.keys[0], o.keys[i] = o.keys[i], o.keys[0]
		}
		keys = append(keys, o.keys...)
	}
	for batch := range slices.Chunk(keys, deleteBatch) {
		_, k, err := look(ctx, s, dir)
		if err != nil {
			return err
		}
		batch = slices.DeleteFunc(batch, k.holds)
		if err := s.Delete(ctx, batch...); err != nil {
			return fmt.Errorf("deleting orphans: %w", err)
		}
	}
	return nil
}
