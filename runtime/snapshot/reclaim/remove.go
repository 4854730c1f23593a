// SPDX-License-Identifier: Apache-2.0

package reclaim

import (
	"context"
	"errors"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/weir-stream/weir/runtime/snapshot"
	"github.com/weir-stream/weir/runtime/snapshot/sweep"
	"github.com/weir-stream/weir/runtime/storage"
)

// deleteBatch is how many objects are deleted with one call.
const deleteBatch = 500

// madeByEngine are the names that the engine gives to directories of snapshots: all below one of them belongs to the snapshot.
var madeByEngine = regexp.MustCompile(`^(savepoint-.+|chk-[0-9]+)$`)

// Identity says which snapshot is meant, so that another one at the same path is not taken for it.
type Identity struct {
	// JobID is its lineage, Checkpoint its number; empty and 0: any.
	JobID      string
	Checkpoint int64
}

// Removed is what came of a removal.
type Removed struct {
	// Deleted counts the objects that were deleted.
	Deleted int64
	// Left says why the snapshot was left where it is, though nothing stands in the way of forgetting it; empty: it is gone.
	Left string
}

// InUseError says that something needs a snapshot.
type InUseError struct {
	Dir string
	// By says who.
	By []string
}

// Error names the snapshot and who needs it.
func (e *InUseError) Error() string {
	return fmt.Sprintf("the snapshot %s is needed by %s", e.Dir, strings.Join(e.By, ", "))
}

// HeadError says that the head of a job can't be read, so that nobody knows whether the job needs a snapshot.
type HeadError struct {
	// Dir is the snapshot, Key that of the head.
	Dir, Key string
	Err      error
}

// Error names the head and what can be done.
func (e *HeadError) Error() string {
	cause := e.Err.Error()
	if c, ok := errors.AsType[*snapshot.CorruptError](e.Err); ok {
		cause = "it is damaged: " + c.Detail
	}
	return fmt.Sprintf("it is not known whether the job in %s needs the snapshot %s: its head %s cannot be read: %s", path.Dir(e.Key), e.Dir, e.Key, cause)
}

// Unwrap returns the cause.
func (e *HeadError) Unwrap() error { return e.Err }

// Remove deletes the snapshot at p, its directory or its manifest within the store, and the pin of the given name. It is an [InUseError] when a job in
// the store would start from it, or a pin of somebody else holds it, and a [HeadError] when that can't be told. Of a checkpoint that its job still retains only the pin goes: the job
// deletes it in time. So it is with one that another pin of [Inspect] holds: it goes with the last of them. Files that it shares with other checkpoints are left to the sweep. It may be repeated: the manifest goes last.
func Remove(ctx context.Context, s storage.Store, p, pin string, want Identity) (*Removed, error) {
	dir, err := directory(p)
	if err != nil {
		return nil, err
	}
	m, err := readManifest(ctx, s, dir)
	switch {
	case errors.Is(err, storage.ErrNotFound):
		return &Removed{Left: "there is none any more"}, errors.Join(disown(ctx, s, dir, pin), unpin(ctx, s, jobDir(dir, want.JobID), dir, pin))
	case err != nil:
		return nil, err
	case (want.JobID != "" && m.JobID != want.JobID) || (want.Checkpoint != 0 && m.Checkpoint != want.Checkpoint):
		return &Removed{Left: fmt.Sprintf("another one is there now, checkpoint %d of job %s", m.Checkpoint, m.JobID)}, nil
	}
	f := &Found{Dir: dir, Manifest: m}
	job := jobDir(dir, m.JobID)
	left, users, err := usersOf(ctx, s, f, job, pin)
	if err != nil {
		return nil, err
	}
	if len(users) > 0 {
		return nil, &InUseError{Dir: dir, By: users}
	}
	if left != "" {
		return &Removed{Left: left}, unpin(ctx, s, job, dir, pin)
	}
	if job == "" {
		if err := own(ctx, s, dir, pin); err != nil {
			return nil, err
		}
	}
	n, err := deleteFiles(ctx, s, f)
	if err != nil {
		return nil, fmt.Errorf("deleting the snapshot %s: %w", dir, err)
	}
	return &Removed{Deleted: n}, errors.Join(disown(ctx, s, dir, pin), unpin(ctx, s, job, dir, pin))
}

// ownerID is who owns a snapshot while it is being deleted.
func ownerID(pin string) string { return "deleted-by-" + pin }

// own claims the snapshot in dir, so that no job can claim it any more. It is an [InUseError] when one has.
func own(ctx context.Context, s storage.Store, dir, pin string) error {
	b, err := snapshot.EncodeOwner(ownerID(pin), "")
	if err != nil {
		return fmt.Errorf("deleting the snapshot %s: %w", dir, err)
	}
	key := dir + snapshot.OwnerName
	err = s.PutIfAbsent(ctx, key, b)
	if err == nil {
		return nil
	}
	have, _, readErr := s.Get(ctx, key)
	if readErr != nil {
		return fmt.Errorf("claiming the snapshot %s: %w", dir, errors.Join(err, readErr))
	}
	o, err := snapshot.DecodeOwner(have)
	if err != nil {
		return fmt.Errorf("reading %s: %w", key, err)
	}
	if o.JobID != ownerID(pin) {
		return &InUseError{Dir: dir, By: []string{strings.TrimSpace("the job "+o.Job) + " (" + o.JobID + "), which has claimed it and deletes it in time"}}
	}
	return nil
}

// disown takes away what [own] has left.
func disown(ctx context.Context, s storage.Store, dir, pin string) error {
	key := dir + snapshot.OwnerName
	b, _, err := s.Get(ctx, key)
	if errors.Is(err, storage.ErrNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading %s: %w", key, err)
	}
	o, err := snapshot.DecodeOwner(b)
	if mine := err == nil && o.JobID == ownerID(pin); !mine {
		return nil // a job's
	}
	if err := s.Delete(ctx, key); err != nil {
		return fmt.Errorf("deleting %s: %w", key, err)
	}
	return nil
}

// usersOf finds out who needs a snapshot. left says why it is left to somebody else, who deletes it in time: its own job names it besides newer ones, or another pin of [Inspect] holds it.
func usersOf(ctx context.Context, s storage.Store, f *Found, job, pin string) (left string, users []string, err error) {
	var heads []string
	err = s.List(ctx, "", func(o storage.Object) error {
		if path.Base(o.Key) == snapshot.HeadName {
			heads = append(heads, o.Key)
		}
		return nil
	})
	if err != nil {
		return "", nil, fmt.Errorf("looking for jobs that need the snapshot %s: %w", f.Dir, err)
	}
	for _, key := range heads {
		names, starts, err := readsFrom(ctx, s, key, f.Dir)
		if _, unreadable := errors.AsType[*HeadError](err); unreadable {
			return "", nil, err
		}
		if err != nil {
			return "", nil, fmt.Errorf("looking for jobs that need the snapshot %s: %w", f.Dir, err)
		}
		own := job != "" && key == job+snapshot.HeadName
		switch {
		case names && own:
			left = "its job retains it, and deletes it in time"
		case names || starts:
			users = append(users, "the job in "+path.Dir(key)+", which goes on from it")
		}
	}
	if job == "" {
		pins, err := ownPins(ctx, s, f)
		return left, append(users, pins...), err
	}
	same, pins, err := otherPins(ctx, s, f, job, pin)
	if left == "" && same != "" {
		left = same + " holds it"
	}
	return left, append(users, pins...), err
}

// readsFrom says whether the head at key names the checkpoint in dir, and whether its job would go on from the snapshot in dir: it is its newest
// state, or what it started from while it has none of its own.
func readsFrom(ctx context.Context, s storage.Reader, key, dir string) (names, starts bool, err error) {
	b, _, err := s.Get(ctx, key)
	if errors.Is(err, storage.ErrNotFound) {
		return false, false, nil // deleted since
	}
	if err != nil {
		return false, false, fmt.Errorf("reading the head %s: %w", key, err)
	}
	h, err := snapshot.DecodeHead(b)
	if err != nil {
		return false, false, &HeadError{Dir: dir, Key: key, Err: err}
	}
	same := func(p string) bool {
		d, err := directory(p)
		return err == nil && mayBe(dir, d, key)
	}
	names = slices.ContainsFunc(h.Checkpoints, func(c snapshot.CompletedCheckpoint) bool { return same(c.Path) })
	newest, ok := h.Newest()
	starts = (ok && same(newest.Path)) || (!ok && h.Origin.Usable() && same(h.Origin.Path))
	return names, starts, nil
}

// mayBe says whether dir may be what the head at key calls d: the storage of its job may begin above or below the one that is looked at.
func mayBe(dir, d, key string) bool {
	if root, below := strings.CutSuffix(dir, "/"+d); below && strings.HasPrefix(key, root+"/") {
		return true
	}
	return d == dir || strings.HasSuffix(d, "/"+dir)
}

// ownPins names the pins in the directory of a savepoint, which keep the job that claimed it from deleting it, too.
func ownPins(ctx context.Context, s storage.Lister, f *Found) ([]string, error) {
	var users []string
	err := s.List(ctx, f.Dir+sweep.PinsDir, func(o storage.Object) error {
		users = append(users, "the pin "+o.Key)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("looking for pins of the snapshot %s: %w", f.Dir, err)
	}
	return users, nil
}

// otherPins names the pins of the job that hold the checkpoint, but for the given one, and a pin of [Inspect] apart from those of others: of several such none may wait for the others.
func otherPins(ctx context.Context, s storage.Store, f *Found, job, pin string) (same string, users []string, err error) {
	err = s.List(ctx, job+sweep.PinsDir, func(o storage.Object) error {
		if o.Key == pinKey(job, pin) {
			return nil
		}
		b, _, err := s.Get(ctx, o.Key)
		if errors.Is(err, storage.ErrNotFound) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading the pin %s: %w", o.Key, err)
		}
		p, err := sweep.DecodePin(b)
		if err != nil {
			return fmt.Errorf("%w: correct or delete %s", err, o.Key)
		}
		switch name := "the pin " + o.Key + describe(p.Reason); {
		case job+p.Path != f.Dir:
		case p.Reason == pinReason:
			same = name
		default:
			users = append(users, name)
		}
		return nil
	})
	if err != nil {
		return "", nil, fmt.Errorf("looking for pins of the snapshot %s: %w", f.Dir, err)
	}
	return same, users, nil
}

func describe(reason string) string {
	if reason == "" {
		return ""
	}
	return " (" + reason + ")"
}

// deleteFiles deletes the files of a snapshot and then its manifest.
func deleteFiles(ctx context.Context, s storage.Store, f *Found) (int64, error) {
	manifest := f.Dir + snapshot.ManifestName
	keys, _ := filesOf(f)
	if madeByEngine.MatchString(path.Base(f.Dir)) {
		keys = nil
		err := s.List(ctx, f.Dir, func(o storage.Object) error {
			if o.Key != manifest && o.Key != f.Dir+snapshot.OwnerName {
				keys = append(keys, o.Key)
			}
			return nil
		})
		if err != nil {
			return 0, err
		}
	}
	n := int64(0)
	for batch := range slices.Chunk(keys, deleteBatch) {
		if err := s.Delete(ctx, batch...); err != nil {
			return n, err
		}
		n += int64(len(batch))
	}
	if err := s.Delete(ctx, manifest); err != nil {
		return n, err
	}
	return n + 1, nil
}
