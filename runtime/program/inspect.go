// SPDX-License-Identifier: Apache-2.0

package program

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/weir-stream/weir/runtime/contract"
	"github.com/weir-stream/weir/runtime/coordinator"
	"github.com/weir-stream/weir/runtime/snapshot"
	"github.com/weir-stream/weir/runtime/storage"
	"github.com/weir-stream/weir/runtime/storage/open"
)

// SnapshotOptions say how to reach snapshots in S3; for a directory they don't count. Without an endpoint it is that of
// AWS_ENDPOINT_URL_S3 or AWS_ENDPOINT_URL.
type SnapshotOptions struct {
	Endpoint, Region string
	// Delete opens the place to delete there, too; a directory must exist then.
	Delete bool
}

// Snapshots is a place with snapshots, opened to look at them.
type Snapshots struct {
	Store storage.Store
	// Path is what was asked for, within the store.
	Path     string
	location string
}

// OpenSnapshots opens a directory, the manifest of a snapshot, or s3://bucket/prefix, for reading.
func OpenSnapshots(ctx context.Context, path string, o SnapshotOptions) (*Snapshots, error) {
	c := storage.Config{}
	s := &Snapshots{}
	if rest, ok := strings.CutPrefix(path, "s3://"); ok {
		bucket, prefix, _ := strings.Cut(rest, "/")
		o.Endpoint = cmp.Or(o.Endpoint, os.Getenv("AWS_ENDPOINT_URL_S3"), os.Getenv("AWS_ENDPOINT_URL"))
		c.S3 = &storage.S3Config{Endpoint: o.Endpoint, Bucket: bucket, Region: o.Region}
		s.Path, s.location = directory(prefix), "s3://"+bucket
	} else {
		dir, err := filepath.Abs(path)
		if err != nil {
			return nil, fmt.Errorf("opening %s: %w", path, err)
		}
		s.location = directory(dir)
		if !o.Delete {
			s.location, s.Path = rooted(s.location)
		}
		if info, err := os.Stat(s.location); o.Delete && (err != nil || !info.IsDir()) {
			return nil, fmt.Errorf("opening %s: there is no such directory", path)
		}
		c.File = &storage.FileConfig{Dir: cmp.Or(s.location, "/"), ReadOnly: !o.Delete}
	}
	store, err := open.Open(ctx, c)
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w", path, err)
	}
	s.Store = store
	return s, nil
}

// rooted returns where to open a store to look into dir, and dir within it. An incremental checkpoint refers to ../../shared/: of the
// directory of a snapshot it is two levels up, of any other dir itself.
func rooted(dir string) (root, within string) {
	if _, err := os.Stat(filepath.Join(dir, snapshot.ManifestName)); err != nil {
		return dir, ""
	}
	parent, name := filepath.Split(dir)
	root = filepath.Dir(filepath.Clean(parent))
	return strings.TrimSuffix(root, "/"), strings.TrimPrefix(filepath.Join(filepath.Base(parent), name), "/")
}

// OpenJob opens the storage of a job, and returns the directories of all jobs of its namespace and name in it.
func OpenJob(ctx context.Context, cfg contract.JobConfig) (*Snapshots, []string, error) {
	if cfg.Storage == nil {
		return nil, nil, errors.New("opening the storage of the job: it has none, so that there is nothing to look at")
	}
	if v := cfg.Storage.Volume; v != nil {
		if _, err := os.Stat(v.Path); err != nil {
			return nil, nil, fmt.Errorf("opening the storage of the job: %w", err)
		}
	}
	o, err := openStorage(ctx, cfg.Storage)
	if err != nil {
		return nil, nil, err
	}
	s := &Snapshots{Store: o.store, location: o.location}
	dirs, err := coordinator.JobDirs(ctx, o.store, cfg)
	if err != nil {
		s.Close()
		return nil, nil, err
	}
	return s, dirs, nil
}

// Close releases the store.
func (s *Snapshots) Close() { _ = s.Store.Close() }

// Located puts where the store is before a path within it.
func (s *Snapshots) Located(path string) string {
	return strings.TrimSuffix(s.location+"/"+path, "/")
}
