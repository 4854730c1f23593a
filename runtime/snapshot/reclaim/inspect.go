// SPDX-License-Identifier: Apache-2.0

package reclaim

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/weir-stream/weir/runtime/record"
	"github.com/weir-stream/weir/runtime/snapshot"
	"github.com/weir-stream/weir/runtime/snapshot/sweep"
	"github.com/weir-stream/weir/runtime/storage"
)

// Found is a snapshot that is there.
type Found struct {
	// Dir is its directory in the store, ending in "/".
	Dir string
	// Manifest describes it.
	Manifest *snapshot.Manifest
	// Pinned says that a pin of the given name keeps it. Only a checkpoint where its job keeps it needs one.
	Pinned bool
}

// Savepoint says whether it is one; otherwise it is a checkpoint.
func (f *Found) Savepoint() bool { return f.Manifest.Kind == record.Savepoint }

// PathError says that a path can't be that of a snapshot.
type PathError struct{ Path, Detail string }

// Error names the path and what is wrong with it.
func (e *PathError) Error() string {
	return fmt.Sprintf("%q is not the path of a snapshot: %s: give the directory of a savepoint or a checkpoint, or its %s", e.Path, e.Detail, snapshot.ManifestName)
}

// Inspect reads the manifest of the snapshot at p, its directory or its manifest within the store, and looks whether every file that it lists
// is there; their content is not read. A checkpoint in the directory of its job is pinned under the name pin first, unless that is empty, so that
// it stays; the same pin again is no error. Errors wrap [storage.ErrNotFound] when there is no snapshot, and are a
// [snapshot.CorruptError] when it is not whole.
func Inspect(ctx context.Context, s storage.Store, p, pin string) (*Found, error) {
	dir, err := directory(p)
	if err != nil {
		return nil, err
	}
	m, err := readManifest(ctx, s, dir)
	if err != nil {
		return nil, err
	}
	f := &Found{Dir: dir, Manifest: m}
	if job := jobDir(dir, m.JobID); job != "" && pin != "" {
		if err := putPin(ctx, s, job, dir, pin); err != nil {
			return nil, err
		}
		f.Pinned = true
		if err = holds(ctx, s, job, dir); err == nil {
			f.Manifest, err = readManifest(ctx, s, dir)
		}
		if err != nil {
			return nil, errors.Join(err, unpin(ctx, s, job, dir, pin))
		}
	}
	return f, whole(ctx, s, f)
}

// directory is that of a snapshot, ending in "/".
func directory(p string) (string, error) {
	d := strings.TrimSuffix(p, "/")
	if path.Base(d) == snapshot.ManifestName {
		d = strings.TrimSuffix(strings.TrimSuffix(d, snapshot.ManifestName), "/")
	}
	switch {
	case d == "":
		return "", &PathError{p, "it is the whole storage"}
	case path.Clean(d) != d || path.IsAbs(d) || d == ".." || strings.HasPrefix(d, "../"):
		return "", &PathError{p, "it must be a clean path within the storage"}
	case storage.CheckKey(d) != nil:
		return "", &PathError{p, storage.CheckKey(d).Error()}
	}
	return d + "/", nil
}

func readManifest(ctx context.Context, s storage.Reader, dir string) (*snapshot.Manifest, error) {
	key := dir + snapshot.ManifestName
	b, _, err := s.Get(ctx, key)
	if err != nil {
		return nil, fmt.Errorf("reading the manifest %s: %w", key, err)
	}
	m, err := snapshot.DecodeManifest(b)
	if err != nil {
		return nil, fmt.Errorf("reading the manifest %s: %w", key, err)
	}
	return m, nil
}

// jobDir is the directory of the job that dir, of a snapshot of lineage jobID, lies in as one of its checkpoints; empty: none.
func jobDir(dir, jobID string) string {
	above := path.Dir(strings.TrimSuffix(dir, "/"))
	job := path.Dir(above)
	if path.Base(above) != "checkpoints" || path.Base(job) != jobID {
		return ""
	}
	return job + "/"
}

// whole looks whether all files are there.
func whole(ctx context.Context, s storage.Lister, f *Found) error {
	have := map[string]bool{}
	note := func(o storage.Object) error {
		have[o.Key] = true
		return nil
	}
	files, shared := filesOf(f)
	if err := s.List(ctx, f.Dir, note); err != nil {
		return fmt.Errorf("listing the files of the snapshot %s: %w", f.Dir, err)
	}
	if len(shared) > 0 {
		below := path.Dir(shared[0]) + "/"
		if err := s.List(ctx, below, note); err != nil {
			return fmt.Errorf("listing the shared files of the snapshot %s: %w", f.Dir, err)
		}
	}
	for _, key := range append(files, shared...) {
		if !have[key] {
			return &snapshot.CorruptError{Object: key, Detail: "the manifest of " + f.Dir + " lists it, and it is missing"}
		}
	}
	return nil
}

// filesOf returns the keys of the files of a snapshot, its manifest left out: its own, and those that it shares with others.
func filesOf(f *Found) (own, shared []string) {
	add := func(file string) {
		key := snapshot.FileKey(f.Dir, file)
		if strings.HasPrefix(file, snapshot.SharedPrefix) {
			shared = append(shared, key)
		} else {
			own = append(own, key)
		}
	}
	for _, file := range f.Manifest.Files() {
		add(file.Path)
	}
	for _, file := range f.Manifest.ChannelFiles() {
		add(file.Path)
	}
	return own, shared
}

// pinKey is the key of a pin.
func pinKey(job, name string) string { return job + sweep.PinsDir + name }

// pinReason is the reason of the pins that are written here.
const pinReason = "a StreamSnapshot names it"

// putPin pins the checkpoint in dir.
func putPin(ctx context.Context, s storage.Store, job, dir, name string) error {
	b, err := sweep.EncodePin(sweep.Pin{Path: strings.TrimPrefix(dir, job), Reason: pinReason})
	if err != nil {
		return err
	}
	key := pinKey(job, name)
	if err := storage.CheckKey(key); err != nil {
		return fmt.Errorf("pinning %s: %w", dir, err)
	}
	err = s.PutIfAbsent(ctx, key, b)
	if err == nil {
		return nil
	}
	if !errors.Is(err, storage.ErrExists) && !errors.Is(err, storage.ErrUnknownOutcome) {
		return fmt.Errorf("pinning %s: %w", dir, err)
	}
	have, _, readErr := s.Get(ctx, key)
	if readErr != nil {
		return fmt.Errorf("pinning %s: %w", dir, errors.Join(err, readErr))
	}
	if p, decodeErr := sweep.DecodePin(have); decodeErr != nil || job+p.Path != dir {
		return fmt.Errorf("pinning %s: %s pins something else: delete it", dir, key)
	}
	return nil
}

// holds says whether the pin keeps the checkpoint in dir. Whoever deletes a checkpoint looks for pins after its head has ceased to name it: a pin that is older than that is seen, one
// that is younger may not be, though all objects of the checkpoint are there still. Of one that was there before, its answer lost, nobody knows which it is.
func holds(ctx context.Context, s storage.Reader, job, dir string) error {
	key := job + snapshot.HeadName
	b, _, err := s.Get(ctx, key)
	if errors.Is(err, storage.ErrNotFound) {
		return nil // nobody deletes anything there
	}
	if err != nil {
		return fmt.Errorf("pinning %s: reading the head %s: %w", dir, key, err)
	}
	h, err := snapshot.DecodeHead(b)
	if err != nil {
		return fmt.Errorf("pinning %s: reading the head %s: %w", dir, key, err)
	}
	paths := make([]string, 0, len(h.Checkpoints)+1)
	for _, c := range h.Checkpoints {
		paths = append(paths, c.Path)
	}
	if h.Origin != nil {
		paths = append(paths, h.Origin.Path)
	}
	for _, p := range paths {
		if d, err := directory(p); err == nil && mayBe(dir, d, key) {
			return nil
		}
	}
	return fmt.Errorf("pinning %s: its job doesn't retain it any more and may be deleting it: take one that the job retains, or a savepoint: %w", dir, storage.ErrNotFound)
}

// unpin takes the pin away if it is of the checkpoint in dir.
func unpin(ctx context.Context, s storage.Store, job, dir, name string) error {
	if job == "" || name == "" {
		return nil
	}
	key := pinKey(job, name)
	b, _, err := s.Get(ctx, key)
	if errors.Is(err, storage.ErrNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading the pin %s: %w", key, err)
	}
	p, err := sweep.DecodePin(b)
	if mine := err == nil && job+p.Path == dir; !mine {
		return nil // somebody else's
	}
	if err := s.Delete(ctx, key); err != nil {
		return fmt.Errorf("deleting the pin %s: %w", key, err)
	}
	return nil
}
