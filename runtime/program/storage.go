// SPDX-License-Identifier: Apache-2.0

package program

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/weir-stream/weir/runtime/contract"
	"github.com/weir-stream/weir/runtime/coordinator"
	"github.com/weir-stream/weir/runtime/snapshot"
	"github.com/weir-stream/weir/runtime/storage"
	"github.com/weir-stream/weir/runtime/storage/memstore"
	"github.com/weir-stream/weir/runtime/storage/open"
)

// openedStorage is the storage of a job.
type openedStorage struct {
	cfg *contract.Storage
	// memory is what is stored when there is no configuration.
	memory *memstore.Memory
	store  storage.Store
	// location goes before paths that people see.
	location string
	durable  bool
}

// openStorage opens the storage of a job; nil means the memory of this process.
func openStorage(ctx context.Context, cfg *contract.Storage) (*openedStorage, error) {
	s := &openedStorage{cfg: cfg, location: "memory:/"}
	switch {
	case cfg == nil:
		s.memory = memstore.New("memory", time.Now)
	case cfg.S3 != nil:
		s.location = strings.TrimSuffix("s3://"+cfg.S3.Bucket+"/"+strings.Trim(cfg.S3.Prefix, "/"), "/")
	case cfg.Volume != nil:
		dir, err := filepath.Abs(cfg.Volume.Path)
		if err != nil {
			return nil, fmt.Errorf("opening the storage of the job: %w", err)
		}
		s.location = dir
	}
	s.durable = cfg != nil
	var err error
	s.store, err = s.client(ctx)
	return s, err
}

// client returns a store of its own over the storage.
func (s *openedStorage) client(ctx context.Context) (storage.Store, error) {
	var c storage.Config
	switch {
	case s.memory != nil:
		return s.memory.Client(memstore.Options{}), nil
	case s.cfg.S3 != nil:
		c.S3 = &storage.S3Config{
			Endpoint: s.cfg.S3.Endpoint, Bucket: s.cfg.S3.Bucket, Prefix: s.cfg.S3.Prefix, Region: s.cfg.S3.Region,
		}
	case s.cfg.Volume != nil:
		c.File = &storage.FileConfig{Dir: s.location}
	default:
		return nil, errors.New("opening the storage of the job: the configuration names neither s3 nor a volume")
	}
	store, err := open.Open(ctx, c)
	if err != nil {
		return nil, fmt.Errorf("opening the storage of the job: %w", err)
	}
	return store, nil
}

func (s *openedStorage) close() { _ = s.store.Close() }

// describe says where snapshots go.
func (s *openedStorage) describe() string {
	if !s.durable {
		return "the memory of this process: checkpoints are lost when it ends, and there are no savepoints"
	}
	return s.location
}

// checkRestore takes over the snapshot to restore from. It refuses when the storage holds other state of the job: that would
// win, silently.
func (s *openedStorage) checkRestore(ctx context.Context, o *LocalOptions) error {
	if o.Restore == "" {
		return nil
	}
	if directory(o.Job.RestoreFrom) != directory(o.Restore) {
		o.Job.RestoreMode = contract.NoClaim // it was said of another one
	}
	o.Job.RestoreFrom = o.Restore
	if o.Fresh {
		return nil
	}
	found, err := coordinator.FindJob(ctx, s.store, o.Job)
	if err != nil || found == nil {
		return err
	}
	newest, ok := found.Head.Newest()
	if !ok {
		return nil
	}
	if want, inside := coordinator.Relative(o.Restore, s.location); inside {
		origin := found.Head.Origin
		if directory(want) == directory(newest.Path) || (origin != nil && directory(want) == directory(origin.Path)) {
			return nil // the same state, or the job that was started from it goes on
		}
	}
	return fmt.Errorf("restoring from %s: the storage holds newer state of the job, %s/%s: leave --restore out to go on from that, or add --new to start another job from the snapshot",
		o.Restore, s.location, strings.TrimSuffix(newest.Path, "/"))
}

// directory is that of a snapshot, given as such or by its manifest.
func directory(path string) string {
	return strings.TrimSuffix(strings.TrimSuffix(strings.TrimSuffix(path, "/"), snapshot.ManifestName), "/")
}
