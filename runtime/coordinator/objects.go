// SPDX-License-Identifier: Apache-2.0

package coordinator

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/weir-stream/weir/runtime/contract"
	"github.com/weir-stream/weir/runtime/snapshot"
	"github.com/weir-stream/weir/runtime/snapshot/sweep"
	"github.com/weir-stream/weir/runtime/storage"
)

// HeadName is the name of the head in the directory of a job.
const HeadName = snapshot.HeadName

// deleteBatch is how many objects are deleted with one call.
const deleteBatch = 500

// headVersion is the store's version of the head; empty while there is none.
type headVersion string

// readHead reads the head in the directory of a job.
func readHead(ctx context.Context, s storage.Reader, dir string) (snapshot.Head, headVersion, bool, error) {
	b, v, err := s.Get(ctx, dir+HeadName)
	if errors.Is(err, storage.ErrNotFound) {
		return snapshot.Head{}, "", false, nil
	}
	if err != nil {
		return snapshot.Head{}, "", false, fmt.Errorf("reading the head of the job: %w", err)
	}
	h, err := snapshot.DecodeHead(b)
	if err != nil {
		return snapshot.Head{}, "", false, fmt.Errorf("reading the head %s%s: %w", dir, HeadName, err)
	}
	return h, headVersion(v), true, nil
}

// writeHead replaces the head of the given version.
func writeHead(ctx context.Context, s storage.Swapper, dir string, before headVersion, h snapshot.Head) (headVersion, error) {
	b, err := snapshot.EncodeHead(h)
	if err != nil {
		return "", fmt.Errorf("writing the head of the job: %w", err)
	}
	v, err := s.Swap(ctx, dir+HeadName, b, string(before))
	if err != nil {
		return "", fmt.Errorf("writing the head of the job: %w", err)
	}
	return headVersion(v), nil
}

// deletion names objects of the job in dir: all below prefix, a directory or one with the beginning of the names of files in it, if that is set, and those
// of paths.
type deletion struct {
	dir, prefix string
	paths       []string
}

// deleteObjects removes objects, but for those that a pin holds, and returns how many that were.
func deleteObjects(ctx context.Context, s storage.Store, d deletion) (int64, error) {
	if d.prefix != "" && strings.LastIndexByte(d.prefix, '/') < 1 {
		return 0, fmt.Errorf("deleting objects: %q names no directory", d.prefix)
	}
	keys := append([]string(nil), d.paths...)
	if d.prefix != "" {
		err := s.List(ctx, d.prefix, func(o storage.Object) error {
			keys = append(keys, o.Key)
			return nil
		})
		if err != nil {
			return 0, fmt.Errorf("listing objects to delete: %w", err)
		}
	}
	keys, err := sweep.Unpinned(ctx, s, d.dir, keys)
	if err != nil {
		return 0, fmt.Errorf("deleting objects: %w", err)
	}
	var n int64
	for batch := range slices.Chunk(keys, deleteBatch) {
		if err := s.Delete(ctx, batch...); err != nil {
			return n, fmt.Errorf("deleting objects: %w", err)
		}
		n += int64(len(batch))
	}
	return n, nil
}

// Found is a job that storage holds a head of.
type Found struct {
	JobID string
	Head  snapshot.Head
}

// FindJob looks for the head of a job: that of the job id if the configuration names one, else, of all heads below
// <namespace>/<name>/, that of the job which was active last. Nil if there is none.
func FindJob(ctx context.Context, s storage.Store, cfg contract.JobConfig) (*Found, error) {
	if cfg.JobID != "" {
		h, _, ok, err := readHead(ctx, s, jobsDir(cfg)+cfg.JobID+"/")
		if err != nil || !ok {
			return nil, err
		}
		return &Found{JobID: cfg.JobID, Head: h}, nil
	}
	ids, err := jobIDs(ctx, s, jobsDir(cfg))
	if err != nil {
		return nil, err
	}
	var best *Found
	for _, id := range ids {
		h, _, ok, err := readHead(ctx, s, jobsDir(cfg)+id+"/")
		if err != nil {
			return nil, err
		}
		if ok && (best == nil || lastActive(h).After(lastActive(best.Head))) {
			best = &Found{JobID: id, Head: h}
		}
	}
	return best, nil
}

// JobDirs lists the directories of all jobs of the namespace and name that storage holds heads of, each ending in "/".
func JobDirs(ctx context.Context, s storage.Lister, cfg contract.JobConfig) ([]string, error) {
	ids, err := jobIDs(ctx, s, jobsDir(cfg))
	for i, id := range ids {
		ids[i] = jobsDir(cfg) + id + "/"
	}
	return ids, err
}

// jobIDs lists the ids with a head below dir.
func jobIDs(ctx context.Context, s storage.Lister, dir string) ([]string, error) {
	var ids []string
	err := s.List(ctx, dir, func(o storage.Object) error {
		id, name, ok := strings.Cut(strings.TrimPrefix(o.Key, dir), "/")
		if ok && name == HeadName {
			ids = append(ids, id)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("looking for the job in storage: %w", err)
	}
	return ids, nil
}

// lastActive is the newest time that a head mentions.
func lastActive(h snapshot.Head) time.Time {
	var at time.Time
	later := func(t time.Time) {
		if t.After(at) {
			at = t
		}
	}
	for _, r := range h.Restores {
		later(r.At)
	}
	for _, c := range h.Checkpoints {
		later(c.CompletedAt)
	}
	for _, o := range h.Operations {
		later(o.At)
	}
	if h.Final != nil {
		later(h.Final.At)
	}
	return at
}

// probe finds out whether the storage keeps the promises that the commit point rests on.
func (c *Coordinator) probe(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	if err := storage.Probe(ctx, c.o.Store); err != nil {
		return fmt.Errorf("probing the storage %s: %w", c.o.Location, err)
	}
	return nil
}
