// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/weir-stream/weir/runtime/snapshot"
	"github.com/weir-stream/weir/runtime/snapshot/verify"
	"github.com/weir-stream/weir/runtime/state"
	"github.com/weir-stream/weir/runtime/storage"
	"github.com/weir-stream/weir/runtime/storage/open"
)

// readback is the last snapshot of a job, every byte of it checked.
type readback struct {
	store    storage.Store
	dir      string
	manifest *snapshot.Manifest
}

// openLast opens the newest snapshot below a directory.
func openLast(ctx context.Context, dir string) (*readback, error) {
	store, err := open.Open(ctx, storage.Config{File: &storage.FileConfig{Dir: dir, ReadOnly: true}})
	if err != nil {
		return nil, fmt.Errorf("opening the storage of the run: %w", err)
	}
	r := &readback{store: store}
	if err := r.load(ctx); err != nil {
		return nil, errors.Join(err, store.Close())
	}
	return r, nil
}

func (r *readback) load(ctx context.Context) error {
	entries, err := verify.List(ctx, r.store, "")
	if err != nil {
		return err
	}
	last := -1
	for i, e := range entries {
		if e.Summary == nil {
			return fmt.Errorf("reading back snapshot %s: %s", e.Path, e.Problem)
		}
		if last < 0 || e.Summary.Checkpoint > entries[last].Summary.Checkpoint {
			last = i
		}
	}
	if last < 0 {
		return errors.New("reading back the last snapshot: the run left none")
	}
	report, err := verify.Verify(ctx, r.store, entries[last].Path)
	if err != nil {
		return err
	}
	if !report.Whole() {
		return fmt.Errorf("reading back the last snapshot: it is damaged: %v", report.Damages)
	}
	key, dir := verify.ManifestKey(entries[last].Path)
	b, _, err := r.store.Get(ctx, key)
	if err != nil {
		return fmt.Errorf("reading the manifest: %w", err)
	}
	r.dir = dir
	r.manifest, err = snapshot.DecodeManifest(b)
	return err
}

func (r *readback) close() { _ = r.store.Close() }

func (r *readback) operator(name string) (*snapshot.OperatorState, error) {
	for i := range r.manifest.Operators {
		if r.manifest.Operators[i].Name == name {
			return &r.manifest.Operators[i], nil
		}
	}
	return nil, fmt.Errorf("reading back the last snapshot: it has no operator %q", name)
}

// marks returns those of an operator by subtask; every subtask must have left one.
func (r *readback) marks(name string) ([]mark, error) {
	o, err := r.operator(name)
	if err != nil {
		return nil, err
	}
	var all []mark
	for _, s := range o.Subtasks {
		for _, l := range s.Lists {
			if l.Name != markList || len(l.Entries) != 1 {
				continue
			}
			var m mark
			if err := json.Unmarshal(l.Entries[0], &m); err != nil {
				return nil, fmt.Errorf("reading the mark of %s/%d: %w", name, s.Index, err)
			}
			all = append(all, m)
		}
	}
	if len(all) != o.Parallelism {
		return nil, fmt.Errorf("reading back operator %q: %d of %d subtasks left a mark", name, len(all), o.Parallelism)
	}
	return all, nil
}

// ReadFile implements state.FileReader.
func (r *readback) ReadFile(ctx context.Context, f state.File, off, n int64) ([]byte, error) {
	return r.store.GetRange(ctx, r.dir+f.Path, off, n)
}

// counts calls each for every key of an operator whose state is one count a key.
func (r *readback) counts(ctx context.Context, name string, each func(key []byte, count int64)) error {
	o, err := r.operator(name)
	if err != nil {
		return err
	}
	for _, s := range o.Subtasks {
		for _, f := range s.Keyed {
			if err := r.countsOf(ctx, f, each); err != nil {
				return fmt.Errorf("reading state file %s: %w", f.Path, err)
			}
		}
	}
	return nil
}

func (r *readback) countsOf(ctx context.Context, f state.File, each func(key []byte, count int64)) error {
	return state.ReadEntries(ctx, f, r, func(d state.Descriptor, key, val []byte) error {
		if len(val) != 8 {
			return fmt.Errorf("state %q has a value of %d bytes, which is no count", d.Name, len(val))
		}
		each(key, int64(binary.LittleEndian.Uint64(val)))
		return nil
	})
}
