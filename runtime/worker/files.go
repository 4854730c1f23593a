// SPDX-License-Identifier: Apache-2.0

package worker

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/google/uuid"

	"github.com/weir-stream/weir/runtime/state"
	"github.com/weir-stream/weir/runtime/storage"
)

// writeTries is how often a file is written under a new name when it isn't known what became of it.
const writeTries = 3

// files reads and writes state files below a directory of the storage.
type files struct {
	store storage.Store
	dir   string
}

// key is the name of a file in the storage.
func (f files) key(name string) string {
	if f.dir == "" {
		return name
	}
	return strings.TrimSuffix(f.dir, "/") + "/" + name
}

// WriteFile implements [state.FileWriter].
func (f files) WriteFile(ctx context.Context, data []byte) (state.File, error) {
	for try := 1; ; try++ {
		name := uuid.NewString()
		err := f.store.PutIfAbsent(ctx, f.key(name), data)
		switch {
		case err == nil:
			return state.File{Path: name, Size: int64(len(data))}, nil
		case try < writeTries && ctx.Err() == nil && (errors.Is(err, storage.ErrUnknownOutcome) || errors.Is(err, storage.ErrExists)):
		default:
			return state.File{}, fmt.Errorf("writing a state file: %w", err)
		}
	}
}

// ReadFile implements [state.FileReader].
func (f files) ReadFile(ctx context.Context, file state.File, off, n int64) ([]byte, error) {
	b, err := f.store.GetRange(ctx, f.key(file.Path), off, n)
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
