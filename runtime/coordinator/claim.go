// SPDX-License-Identifier: Apache-2.0

package coordinator

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/weir-stream/weir/runtime/contract"
	"github.com/weir-stream/weir/runtime/job"
	"github.com/weir-stream/weir/runtime/snapshot"
	"github.com/weir-stream/weir/runtime/snapshot/sweep"
	"github.com/weir-stream/weir/runtime/storage"
)

// errPinned says that somebody needs a savepoint that is to be deleted.
var errPinned = errors.New("it is pinned")

func (l *loop) claimSnapshot(ctx context.Context, e job.ClaimSnapshot) {
	cfg := l.prepared.cfg
	l.startIn(ctx, l.manifests, func(ctx context.Context) func(*loop) {
		ctx, cancel := context.WithTimeout(ctx, headTimeout)
		defer cancel()
		err := claimSnapshot(ctx, l.o.Store, e.Dir, cfg)
		_, owned := errors.AsType[*snapshot.ClaimError](err)
		if err == nil {
			l.log.Info("Claimed the snapshot to start from", "path", l.located(e.Dir))
		}
		return func(l *loop) { l.machine.HandleSnapshotClaimed(time.Now(), e.Dir, err, owned) }
	})
}

func (l *loop) deleteOrigin(ctx context.Context, e job.DeleteOrigin) {
	id := l.prepared.cfg.JobID
	l.startIn(ctx, l.deletions, func(ctx context.Context) func(*loop) {
		ctx, cancel := context.WithTimeout(ctx, deleteTimeout)
		defer cancel()
		n, err := deleteOwned(ctx, l.o.Store, e.Dir, id)
		if err == nil {
			l.log.Info("Deleted the snapshot that the job started from", "path", l.located(e.Dir), "objects", n)
		} else {
			l.log.Info("Deleting the snapshot that the job started from will be tried again", "path", l.located(e.Dir), "reason", err.Error())
		}
		return func(l *loop) { l.machine.HandleOriginDeleted(time.Now(), e.Dir, err) }
	})
}

// claimSnapshot makes a job the owner of the snapshot in dir. A [snapshot.ClaimError] says that it can't be.
func claimSnapshot(ctx context.Context, s storage.Store, dir string, cfg contract.JobConfig) error {
	if err := checkClaim(ctx, s, dir, cfg.JobID); err != nil {
		return err
	}
	b, err := snapshot.EncodeOwner(cfg.JobID, cfg.Namespace+"/"+cfg.Name)
	if err != nil {
		return err
	}
	err = s.PutIfAbsent(ctx, dir+snapshot.OwnerName, b)
	if err == nil {
		return nil
	}
	there, _, readErr := s.Get(ctx, dir+snapshot.OwnerName)
	switch {
	case readErr == nil && bytes.Equal(there, b):
		return nil // it was there before, or the answer was lost
	case readErr == nil:
		return checkClaim(ctx, s, dir, cfg.JobID)
	default:
		return fmt.Errorf("claiming the snapshot %s: %w", dir, err)
	}
}

// checkClaim says why a job can't claim the snapshot in dir, as far as the storage knows: a [snapshot.ClaimError]. Other errors are those of the storage.
func checkClaim(ctx context.Context, s storage.Reader, dir, jobID string) error {
	if parent := path.Dir(strings.TrimSuffix(dir, "/")); path.Base(parent) == "checkpoints" {
		head := path.Join(path.Dir(parent), HeadName)
		_, _, err := s.Get(ctx, head)
		switch {
		case err == nil:
			return &snapshot.ClaimError{Why: fmt.Sprintf("it is a checkpoint in the directory of a job, whose head, %s, may name it: claim a savepoint, or start without a claim", head)}
		case !errors.Is(err, storage.ErrNotFound):
			return fmt.Errorf("claiming the snapshot %s: %w", dir, err)
		}
	}
	owner, err := readOwner(ctx, s, dir)
	if err != nil || owner == nil || owner.JobID == jobID {
		return err
	}
	return &snapshot.ClaimError{Why: fmt.Sprintf("job %s (id %s) owns it, and deletes it once it doesn't need it any more: start from another one; "+
		"if that job is gone for good, delete %s%s", owner.Job, owner.JobID, dir, snapshot.OwnerName)}
}

// readOwner returns the owner of the snapshot in dir; nil if it has none.
func readOwner(ctx context.Context, s storage.Reader, dir string) (*snapshot.Owner, error) {
	b, _, err := s.Get(ctx, dir+snapshot.OwnerName)
	if errors.Is(err, storage.ErrNotFound) {
		return nil, nil //nolint:nilnil // no owner is no error
	}
	if err != nil {
		return nil, fmt.Errorf("reading the owner of the snapshot %s: %w", dir, err)
	}
	o, err := snapshot.DecodeOwner(b)
	if err != nil {
		return nil, &snapshot.ClaimError{Why: fmt.Sprintf("who owns it can't be told: %v: correct or delete %s%s", err, dir, snapshot.OwnerName)}
	}
	return &o, nil
}

// deleteOwned deletes the snapshot in dir if the job owns it, and returns how many objects that were. Without its owner it was deleted, or given free, before: the
// owner goes last. One that is pinned stays. A directory with the name that the engine gives to those of savepoints goes with all that is in it, the manifest
// first, so that what is left of an interrupted deletion can't be taken for a savepoint. Another one may hold other things: only
// what the manifest lists goes, and then the manifest.
func deleteOwned(ctx context.Context, s storage.Store, dir, jobID string) (int, error) {
	owner, err := readOwner(ctx, s, dir)
	if err != nil {
		return 0, err
	}
	if owner == nil || owner.JobID != jobID {
		return 0, nil
	}
	all, err := ownedKeys(ctx, s, dir)
	if err != nil {
		return 0, err
	}
	order := deletionOrder(dir, all)
	if !strings.HasPrefix(path.Base(dir), "savepoint-") {
		if order, err = listedOrder(ctx, s, dir); err != nil {
			return 0, err
		}
	}
	n := 0
	for _, keys := range order {
		for batch := range slices.Chunk(keys, deleteBatch) {
			if err := s.Delete(ctx, batch...); err != nil {
				return n, fmt.Errorf("deleting the snapshot %s: %w", dir, err)
			}
			n += len(batch)
		}
	}
	// A list may be behind: the owner goes only when nothing else is there.
	left, err := ownedKeys(ctx, s, dir)
	if err != nil {
		return n, err
	}
	for _, keys := range order {
		if i := slices.IndexFunc(keys, func(k string) bool { return slices.Contains(left, k) }); i >= 0 {
			return n, fmt.Errorf("deleting the snapshot %s: %s is still there", dir, keys[i])
		}
	}
	if err := s.Delete(ctx, dir+snapshot.OwnerName); err != nil {
		return n, fmt.Errorf("deleting the snapshot %s: %w", dir, err)
	}
	return n + 1, nil
}

// deletionOrder is that of the objects in the directory of a savepoint, but for its owner: the manifest, then the others.
func deletionOrder(dir string, all []string) [][]string {
	manifest, mark := dir+snapshot.ManifestName, dir+snapshot.OwnerName
	rest := slices.DeleteFunc(all, func(k string) bool { return k == manifest || k == mark })
	return [][]string{{manifest}, rest}
}

// listedOrder is that of the files of a savepoint, and then its manifest, which says which they are; nothing once that is gone.
func listedOrder(ctx context.Context, s storage.Reader, dir string) ([][]string, error) {
	m, _, err := readManifest(ctx, s, dir, 0)
	if errors.Is(err, storage.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("deleting the snapshot %s: %w", dir, err)
	}
	var files []string
	for _, f := range m.Files() {
		files = append(files, snapshot.FileKey(dir, f.Path))
	}
	for _, f := range m.ChannelFiles() {
		files = append(files, snapshot.FileKey(dir, f.Path))
	}
	return [][]string{files, {dir + snapshot.ManifestName}}, nil
}

// ownedKeys lists the objects of a snapshot; it fails if one is a pin.
func ownedKeys(ctx context.Context, s storage.Lister, dir string) ([]string, error) {
	var keys []string
	err := s.List(ctx, dir, func(o storage.Object) error {
		if strings.HasPrefix(o.Key, dir+sweep.PinsDir) {
			return fmt.Errorf("%s: %w", o.Key, errPinned)
		}
		keys = append(keys, o.Key)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("deleting the snapshot %s: %w", dir, err)
	}
	return keys, nil
}

// startsElsewhere says that the state to start from is not the job's, and that it has not started from it before.
func (p *prepared) startsElsewhere() bool {
	return p.from.ID == 0 && (p.found == nil || !p.found.Head.Origin.Usable())
}

// checkOwner finds out before anything is claimed whether the job may start from a snapshot that isn't its own. The warning is for one that another job may
// delete.
func (c *Coordinator) checkOwner(ctx context.Context, p *prepared) (warnings []string, err error) {
	if p.from == nil || p.from.manifest == nil || !p.startsElsewhere() {
		return nil, nil
	}
	dir := snapshot.Directory(p.from.Path)
	if p.cfg.RestoreMode == contract.Claim {
		if err := p.from.manifest.CheckClaim(); err != nil {
			return nil, err
		}
		return nil, checkClaim(ctx, c.o.Store, dir, p.cfg.JobID)
	}
	owner, err := readOwner(ctx, c.o.Store, dir)
	if err == nil && owner != nil && owner.JobID != p.cfg.JobID {
		warnings = []string{fmt.Sprintf("job %s owns the snapshot %s and deletes it once it doesn't need it any more: until this job has a checkpoint of its own, keep it by creating an object below %s",
			owner.Job, dir, dir+sweep.PinsDir)}
	}
	return warnings, nil // reading it is all that this job does
}
