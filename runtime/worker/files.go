// SPDX-License-Identifier: Apache-2.0

package worker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/uuid"

	"github.com/weir-stream/weir/runtime/snapshot"
	"github.com/weir-stream/weir/runtime/state"
	"github.com/weir-stream/weir/runtime/storage"
)

// writeTries is how often a file is written under a new name when it isn't known what became of it.
const writeTries = 3

// discardTimeout bounds the deletion of files that a snapshot left behind, and discardBatch how many of them one call deletes.
const (
	discardTimeout = 5 * time.Second
	discardBatch   = 500
)

// files reads and writes state files below a directory of the storage.
type files struct {
	store storage.Store
	dir   string
	// prefix begins the names of files in dir.
	prefix string
	// shared is where files go to which later snapshots may refer, a prefix that ends in "/".
	shared string
	// created notes all of them, so that they can be deleted if nobody ever hears of them; nil for not.
	created *createdFiles
	// local keeps copies; nil for none. checkpoint is what files are written for.
	local      *localCopies
	checkpoint int64
	// pace spreads the files over time; nil for as fast as can be.
	pace *state.Pace
}

// createdFiles are the keys of files that one asynchronous part has created, or may have.
type createdFiles struct {
	mu   sync.Mutex
	keys []string
}

func (c *createdFiles) add(key string) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.keys = append(c.keys, key)
}

// take returns the keys and forgets them.
func (c *createdFiles) take() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	keys := c.keys
	c.keys = nil
	return keys
}

// key is the name of a file in the storage.
func (f files) key(name string) string { return snapshot.FileKey(f.dir, name) }

// WriteFile implements [state.FileWriter].
func (f files) WriteFile(ctx context.Context, data []byte) (state.File, error) {
	return f.write(ctx, data, func(name string) (string, string) { return f.key(f.prefix + name), f.prefix + name })
}

// WriteShared implements [state.SharedWriter].
func (f files) WriteShared(ctx context.Context, data []byte) (state.File, error) {
	if f.shared == "" {
		return state.File{}, errors.New("writing a state file: the snapshot has no place for shared files")
	}
	file, err := f.write(ctx, data, func(name string) (string, string) {
		return f.shared + name, snapshot.SharedPrefix + name
	})
	file.Shared = true
	return file, err
}

// write stores data under a new name; place says which key and path go with it.
func (f files) write(ctx context.Context, data []byte, place func(name string) (key, path string)) (state.File, error) {
	for try := 1; ; try++ {
		key, path := place(uuid.NewString())
		f.created.add(key)
		err := f.store.PutIfAbsent(ctx, key, data)
		switch {
		case err == nil:
			f.local.put(f.checkpoint, key, data)
			return state.File{Path: path, Size: int64(len(data))}, nil
		case try < writeTries && ctx.Err() == nil && (errors.Is(err, storage.ErrUnknownOutcome) || errors.Is(err, storage.ErrExists)):
		default:
			return state.File{}, fmt.Errorf("writing a state file: %w", err)
		}
	}
}

// KeepPace implements [state.PacedWriter].
func (f files) KeepPace(ctx context.Context, n int) error {
	if f.pace == nil {
		return nil
	}
	if d := f.pace.Wait(time.Now(), n); d > 0 && !pause(ctx, d) {
		return context.Cause(ctx)
	}
	return nil
}

// discard deletes the files that were created, none of which was acknowledged. What can't be deleted is left to the coordinator, or to a sweep.
func (f files) discard(ctx context.Context, log logr.Logger) {
	keys := f.created.take()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), discardTimeout)
	defer cancel()
	for batch := range slices.Chunk(keys, discardBatch) {
		if err := f.store.Delete(ctx, batch...); err != nil {
			log.V(1).Info("Left files behind", "keys", batch, "reason", err.Error())
			return
		}
	}
}

// readsAtOnce is how many parts of state files one restore reads at the same time.
const readsAtOnce = 4

// ReadsAtOnce implements [state.ConcurrentReader].
func (files) ReadsAtOnce() int { return readsAtOnce }

// ReadFile implements [state.FileReader].
func (f files) ReadFile(ctx context.Context, file state.File, off, n int64) ([]byte, error) {
	return f.ReadFileInto(ctx, file, off, n, nil)
}

// ReadFileInto implements [state.BufferReader].
func (f files) ReadFileInto(ctx context.Context, file state.File, off, n int64, buf []byte) ([]byte, error) {
	if b, ok := f.local.read(file, off, n, buf); ok {
		return b, nil
	}
	b, err := f.getRange(ctx, f.key(file.Path), off, n, buf)
	switch {
	case errors.Is(err, storage.ErrNotFound):
		return nil, &state.CorruptError{Path: f.key(file.Path), Section: "file", Reason: "it doesn't exist"}
	case err != nil:
		return nil, fmt.Errorf("reading state file %s: %w", f.key(file.Path), err)
	case int64(len(b)) != n:
		return nil, &state.CorruptError{
			Path: f.key(file.Path), Section: "file", Offset: off + int64(len(b)),
			Reason: fmt.Sprintf("it ends after %d of %d bytes", off+int64(len(b)), file.Size),
		}
	}
	return b, nil
}

// getRange reads a part of an object, into buf if the store can.
func (f files) getRange(ctx context.Context, key string, off, n int64, buf []byte) ([]byte, error) {
	if into, ok := f.store.(storage.BufferReader); ok && buf != nil {
		return into.GetRangeInto(ctx, key, off, n, buf)
	}
	return f.store.GetRange(ctx, key, off, n)
}
