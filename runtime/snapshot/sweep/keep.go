// SPDX-License-Identifier: Apache-2.0

package sweep

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/weir-stream/weir/runtime/snapshot"
	"github.com/weir-stream/weir/runtime/storage"
)

// keep is what must stay.
type keep struct {
	dir string
	// whole are directories of checkpoints that stay with all that is in them; files are single objects.
	whole map[string]bool
	files map[string]bool
	// listed are the directories of checkpoints whose manifests list all that belongs into them.
	listed map[string]bool
	// notes say what could not be looked into.
	notes []string
}

func newKeep(dir string) *keep {
	return &keep{dir: dir, whole: map[string]bool{}, files: map[string]bool{}, listed: map[string]bool{}}
}

// holds says whether an object stays.
func (k *keep) holds(key string) bool {
	if k.files[key] {
		return true
	}
	d := k.checkpointDir(key)
	return d != "" && k.whole[d]
}

// checkpointDir is the directory of the checkpoint that an object is in; empty if it is in none.
func (k *keep) checkpointDir(key string) string {
	rest, ok := strings.CutPrefix(key, k.dir+"checkpoints/")
	if !ok {
		return ""
	}
	name, _, ok := strings.Cut(rest, "/")
	if !ok {
		return ""
	}
	return k.dir + "checkpoints/" + name + "/"
}

// within turns the path of a checkpoint, as the head has it, into a directory of the store: the job's directory may be opened alone.
func (k *keep) within(jobID, p string) (string, bool) {
	p = strings.TrimSuffix(strings.TrimSuffix(p, snapshot.ManifestName), "/") + "/"
	i := strings.LastIndex("/"+p, "/"+jobID+"/checkpoints/")
	if i < 0 {
		return "", false
	}
	return k.dir + p[i+len(jobID)+1:], true
}

// head enters what the head of the job leads to.
func (k *keep) head(ctx context.Context, s storage.Reader, h *snapshot.Head) error {
	for _, c := range h.Checkpoints {
		dir, ok := k.within(h.JobID, c.Path)
		if !ok {
			return fmt.Errorf("the head names checkpoint %d in %s, which is outside of the directory of job %s: nothing is deleted", c.ID, c.Path, h.JobID)
		}
		err := k.checkpoint(ctx, s, dir, c.ManifestCRC32C)
		switch {
		case err == nil:
		case c.Shared:
			return fmt.Errorf("which shared files checkpoint %d needs can't be told, so nothing is deleted: %w", c.ID, err)
		default:
			k.whole[dir] = true
			k.notes = append(k.notes, fmt.Sprintf("checkpoint %d can't be read, so all of %s stays: %v", c.ID, dir, err))
		}
	}
	if h.Origin != nil {
		if dir, ok := k.within(h.JobID, h.Origin.Path); ok {
			return k.pin(ctx, s, Pin{Path: strings.TrimPrefix(dir, k.dir), Reason: "the job started from it"})
		}
	}
	return nil
}

// pin enters a checkpoint that the head need not name. One that is gone holds nothing.
func (k *keep) pin(ctx context.Context, s storage.Reader, p Pin) error {
	dir := k.dir + p.Path
	k.whole[dir] = true
	err := k.checkpoint(ctx, s, dir, 0)
	if err != nil && !errors.Is(err, storage.ErrNotFound) {
		return fmt.Errorf("what the pinned checkpoint %s needs can't be told, so nothing is deleted: %w", dir, err)
	}
	return nil
}

// checkpoint enters the files of a checkpoint.
func (k *keep) checkpoint(ctx context.Context, s storage.Reader, dir string, sum uint32) error {
	key := dir + snapshot.ManifestName
	k.files[key] = true
	b, _, err := s.Get(ctx, key)
	if err != nil {
		return fmt.Errorf("reading the manifest %s: %w", key, err)
	}
	if got := snapshot.Checksum(b); sum != 0 && got != sum {
		return &snapshot.CorruptError{Object: key, Detail: fmt.Sprintf("its checksum is %08x and the head says %08x", got, sum)}
	}
	m, err := snapshot.DecodeManifest(b)
	if err != nil {
		return fmt.Errorf("reading the manifest %s: %w", key, err)
	}
	for _, f := range m.Files() {
		k.files[snapshot.FileKey(dir, f.Path)] = true
	}
	for _, f := range m.ChannelFiles() {
		k.files[snapshot.FileKey(dir, f.Path)] = true
	}
	k.listed[dir] = true
	return nil
}
