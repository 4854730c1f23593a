// SPDX-License-Identifier: Apache-2.0

package checkpoint

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Registry knows the shared files of a job and which checkpoints refer to each: those that are kept, and those in flight. A checkpoint in
// flight also holds on to the files of its base, to which the acknowledgements to come may refer. A file may be deleted once
// nobody refers to it.
//
// What kept checkpoints of an earlier incarnation refer to isn't known at first. Until all of them have been learned, files that one of them
// could refer to are not handed out for deletion. A checkpoint that can't be read is never learned, so that it holds those files for as long as it is kept.
//
// Only names are kept here; the registry reads and deletes nothing.
type Registry struct {
	dir string
	// files by name, with the checkpoints that refer to them.
	files map[string]*sharedFile
	// owners are the files of each checkpoint, bases what those in flight may refer to.
	owners map[int64]map[string]bool
	bases  map[int64]int64
	// unknown are kept checkpoints that have not been learned; released those that are kept only for who has them as a base.
	unknown  map[int64]bool
	released map[int64]bool
}

type sharedFile struct {
	owners map[int64]bool
	// fresh files were created under this registry, so no checkpoint that is unknown to it refers to them.
	fresh bool
}

// NewRegistry returns a registry for the files below dir, which ends in "/". unknown are the kept checkpoints with shared files.
func NewRegistry(dir string, unknown []int64) *Registry {
	r := &Registry{
		dir: dir, files: map[string]*sharedFile{}, owners: map[int64]map[string]bool{}, bases: map[int64]int64{},
		unknown: map[int64]bool{}, released: map[int64]bool{},
	}
	for _, id := range unknown {
		r.unknown[id] = true
	}
	return r
}

// Unknown lists the kept checkpoints that have not been learned, newest first.
func (r *Registry) Unknown() []int64 {
	ids := slices.Sorted(maps.Keys(r.unknown))
	slices.Reverse(ids)
	return ids
}

// Learn takes the shared files of a kept checkpoint and returns the files that may be deleted now.
func (r *Registry) Learn(id int64, names []string) []string {
	if !r.unknown[id] {
		return nil
	}
	delete(r.unknown, id)
	for _, n := range names {
		r.refer(id, n, false)
	}
	return r.unreferenced()
}

// Open begins a checkpoint in flight whose tasks may refer to the files of base; 0 for none.
func (r *Registry) Open(id, base int64) {
	r.bases[id] = base
}

// Create takes a file that was created for a checkpoint in flight, or for one that was given up if live is false. The error says
// why such a checkpoint can't be completed.
func (r *Registry) Create(id int64, name string) error {
	if !strings.HasPrefix(name, r.dir) {
		return fmt.Errorf("the shared file %q lies outside of %q", name, r.dir)
	}
	if f := r.files[name]; f != nil {
		r.refer(id, name, f.fresh)
		return fmt.Errorf("the shared file %q is said to be new, but was there before", name)
	}
	r.refer(id, name, true)
	return nil
}

// Reuse takes a file that a checkpoint in flight refers to. It must be one of its base's.
func (r *Registry) Reuse(id int64, name string) error {
	base := r.bases[id]
	switch {
	case base == 0:
		return fmt.Errorf("the shared file %q is said to be the base's, but the checkpoint has none", name)
	case !r.owners[base][name]:
		return fmt.Errorf("the shared file %q isn't one of the base's, checkpoint %d", name, base)
	}
	r.refer(id, name, r.files[name].fresh)
	return nil
}

func (r *Registry) refer(id int64, name string, fresh bool) {
	f := r.files[name]
	if f == nil {
		f = &sharedFile{owners: map[int64]bool{}, fresh: fresh}
		r.files[name] = f
	}
	f.owners[id] = true
	if r.owners[id] == nil {
		r.owners[id] = map[string]bool{}
	}
	r.owners[id][name] = true
}

// Stray takes a file of a checkpoint that is neither kept nor in flight, and says whether it may be deleted right away. own says that the
// checkpoint was started under this registry.
func (r *Registry) Stray(name string, own bool) bool {
	if !strings.HasPrefix(name, r.dir) || r.files[name] != nil {
		return false
	}
	if own || len(r.unknown) == 0 {
		return true
	}
	r.files[name] = &sharedFile{owners: map[int64]bool{}}
	return false
}

// Complete makes a checkpoint in flight a kept one, and returns the files that may be deleted: its base's, if that isn't kept any more.
func (r *Registry) Complete(id int64) []string { return r.close(id) }

// Release drops a checkpoint that isn't kept any more, or was given up, and returns the files that may be deleted.
func (r *Registry) Release(id int64) []string {
	free := r.close(id)
	delete(r.unknown, id)
	if r.isBase(id) {
		r.released[id] = true
	} else {
		r.drop(id)
	}
	return append(free, r.unreferenced()...)
}

// Forget drops a checkpoint whose files are to stay where they are.
func (r *Registry) Forget(id int64) {
	delete(r.unknown, id)
	r.drop(id)
	for name, f := range r.files {
		if len(f.owners) == 0 {
			delete(r.files, name)
		}
	}
}

// Refers says whether a checkpoint refers to shared files.
func (r *Registry) Refers(id int64) bool { return len(r.owners[id]) > 0 }

// Files is how many shared files are known.
func (r *Registry) Files() int { return len(r.files) }

// close ends the hold of a checkpoint in flight on its base.
func (r *Registry) close(id int64) []string {
	base := r.bases[id]
	delete(r.bases, id)
	if !r.released[base] || r.isBase(base) {
		return nil
	}
	delete(r.released, base)
	r.drop(base)
	return r.unreferenced()
}

func (r *Registry) isBase(id int64) bool {
	for _, b := range r.bases {
		if b == id {
			return true
		}
	}
	return false
}

func (r *Registry) drop(id int64) {
	for name := range r.owners[id] {
		delete(r.files[name].owners, id)
	}
	delete(r.owners, id)
}

// unreferenced takes out the files that nobody refers to, as far as that is known.
func (r *Registry) unreferenced() []string {
	var free []string
	for name, f := range r.files {
		if len(f.owners) == 0 && (f.fresh || len(r.unknown) == 0) {
			free = append(free, name)
			delete(r.files, name)
		}
	}
	slices.Sort(free)
	return free
}
