// SPDX-License-Identifier: Apache-2.0

package coordinator

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/weir-stream/weir/runtime/job"
	"github.com/weir-stream/weir/runtime/snapshot"
	"github.com/weir-stream/weir/runtime/storage"
)

const (
	// headTimeout bounds one read or swap of the head, objectTimeout a manifest, deleteTimeout a deletion.
	headTimeout   = 30 * time.Second
	objectTimeout = 5 * time.Minute
	deleteTimeout = 10 * time.Minute
	// probeTimeout bounds the probe of the storage.
	probeTimeout = time.Minute
)

func (l *loop) readHead(ctx context.Context) {
	dir := l.prepared.dir
	l.start(ctx, func(ctx context.Context) func(*loop) {
		ctx, cancel := context.WithTimeout(ctx, headTimeout)
		defer cancel()
		h, v, found, err := readHead(ctx, l.o.Store, dir)
		return func(l *loop) {
			if err == nil {
				l.head = v
			}
			l.machine.HandleHeadRead(time.Now(), h, found, err)
		}
	})
}

// swapHead tries the swap once and reads back what became of it unless it plainly succeeded.
func (l *loop) swapHead(ctx context.Context, e job.SwapHead) {
	dir, before := l.prepared.dir, l.head
	l.start(ctx, func(ctx context.Context) func(*loop) {
		v, outcome, err := trySwap(ctx, l.o.Store, dir, before, e.Head)
		if err != nil {
			l.log.Info("Swapping the head did not plainly succeed", "seq", e.Head.Seq, "outcome", outcome.String(), "reason", err.Error())
		}
		return func(l *loop) {
			if outcome == snapshot.Swapped {
				l.head = v
			}
			l.machine.HandleSwapped(time.Now(), outcome, err)
		}
	})
}

// trySwap swaps the head and returns its new version.
func trySwap(ctx context.Context, s storage.Store, dir string, before headVersion, h snapshot.Head) (headVersion, snapshot.SwapOutcome, error) {
	swapCtx, cancel := context.WithTimeout(ctx, headTimeout)
	defer cancel()
	v, err := writeHead(swapCtx, s, dir, before, h)
	if err == nil {
		return v, snapshot.Swapped, nil
	}
	readCtx, cancelRead := context.WithTimeout(ctx, headTimeout)
	defer cancelRead()
	back, v, found, readErr := readHead(readCtx, s, dir)
	outcome := snapshot.ResolveSwap(back, found, readErr, h)
	switch {
	case outcome == snapshot.Swapped:
		return v, outcome, nil
	case readErr == nil && !found && h.Seq > 1:
		return v, outcome, fmt.Errorf("%s%s is gone: somebody has deleted it, or the storage was emptied; bring it back: nothing is begun in its place", dir, snapshot.HeadName)
	}
	return v, outcome, errors.Join(err, readErr)
}

func (l *loop) writeManifest(ctx context.Context, e job.WriteManifest) {
	l.startIn(ctx, l.manifests, func(ctx context.Context) func(*loop) {
		ctx, cancel := context.WithTimeout(ctx, objectTimeout)
		defer cancel()
		sum, size, err := writeManifest(ctx, l.o.Store, e.Path, e.Manifest)
		return func(l *loop) { l.machine.HandleManifestWritten(time.Now(), e.Checkpoint, sum, size, err) }
	})
}

// writeManifest creates a manifest. One that is there already is right if it is the same: an earlier try, whose answer was lost.
func writeManifest(ctx context.Context, s storage.Store, dir string, m *snapshot.Manifest) (sum uint32, size int64, err error) {
	b, err := snapshot.EncodeManifest(m)
	if err != nil {
		return 0, 0, err
	}
	key := manifestKey(dir)
	err = s.PutIfAbsent(ctx, key, b)
	if err != nil {
		there, _, readErr := s.Get(ctx, key)
		if readErr != nil || !bytes.Equal(there, b) {
			return 0, 0, fmt.Errorf("writing the manifest %s: %w", key, err)
		}
	}
	return snapshot.Checksum(b), int64(len(b)), nil
}

// manifestKey is the manifest of the snapshot at path: its directory or the manifest itself.
func manifestKey(path string) string {
	if strings.HasSuffix(path, "/"+snapshot.ManifestName) {
		return path
	}
	return strings.TrimSuffix(path, "/") + "/" + snapshot.ManifestName
}

func (l *loop) readManifest(ctx context.Context, e job.ReadManifest) {
	l.startIn(ctx, l.manifests, func(ctx context.Context) func(*loop) {
		ctx, cancel := context.WithTimeout(ctx, objectTimeout)
		defer cancel()
		m, permanent, err := readManifest(ctx, l.o.Store, e.Path, e.CRC32C)
		r := job.ManifestRead{Path: e.Path, Manifest: m, Err: err, Permanent: permanent, Damaged: damaged(err)}
		if r.Damaged {
			l.log.Info("A snapshot is damaged", "path", l.located(e.Path), "reason", err.Error())
		}
		return func(l *loop) { l.machine.HandleManifestRead(time.Now(), r) }
	})
}

// readManifest reads and checks the manifest of the snapshot at path; sum is its checksum, 0 if unknown. permanent says of
// an error that reading again gives it again.
func readManifest(ctx context.Context, s storage.Reader, path string, sum uint32) (m *snapshot.Manifest, permanent bool, err error) {
	key := manifestKey(path)
	b, _, err := s.Get(ctx, key)
	if errors.Is(err, storage.ErrNotFound) {
		return nil, true, fmt.Errorf("reading the snapshot %s: it has no %s: check the path: %w", path, snapshot.ManifestName, err)
	}
	if err != nil {
		// Access that is denied may be granted again: the snapshot is not to blame.
		permanent := !storage.Retriable(err) && storage.ReasonOf(err) != storage.AccessDenied
		return nil, permanent, fmt.Errorf("reading the manifest %s: %w", key, err)
	}
	if got := snapshot.Checksum(b); sum != 0 && got != sum {
		return nil, true, &snapshot.CorruptError{Object: key, Detail: fmt.Sprintf("its checksum is %08x and the head says %08x", got, sum)}
	}
	m, err = snapshot.DecodeManifest(b)
	if c, ok := errors.AsType[*snapshot.CorruptError](err); ok {
		c.Object = key
	}
	return m, err != nil, err
}

// deleteObjects deletes what nothing refers to.
func (l *loop) deleteObjects(ctx context.Context, e job.DeleteObjects) {
	d := deletion{dir: l.prepared.dir, prefix: e.Prefix, paths: e.Paths}
	l.startIn(ctx, l.deletions, func(ctx context.Context) func(*loop) {
		ctx, cancel := context.WithTimeout(ctx, deleteTimeout)
		defer cancel()
		_, err := deleteObjects(ctx, l.o.Store, d)
		if err != nil {
			l.log.V(1).Info("Deleting objects failed, it is tried again with the next deletion", "prefix", e.Prefix, "reason", err.Error())
		}
		return func(l *loop) { l.machine.HandleDeleted(time.Now(), e.Token, err) }
	})
}
