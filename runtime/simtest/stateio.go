// SPDX-License-Identifier: Apache-2.0

package simtest

import (
	"context"
	"errors"
	"fmt"

	"github.com/weir-stream/weir/runtime/record"
	"github.com/weir-stream/weir/runtime/snapshot"
	"github.com/weir-stream/weir/runtime/state"
	"github.com/weir-stream/weir/runtime/storage"
)

// stateWriter writes the files of one asynchronous part.
type stateWriter struct {
	t *taskRun
	b record.Barrier
	// created are the files, which nobody else knows of until they are acknowledged.
	created []string
	// ended says that the task has seen the end of its part, acked that it acknowledged them then, deleting that it asked for their deletion and has no answer,
	// refused that the answer was no.
	ended, acked, deleting, refused bool
}

// lost says that the task could not see to its files: it died before, storage didn't carry the deletion out, or it acknowledged them, and that may not have arrived.
func (s *stateWriter) lost() bool {
	return s.acked || s.refused || s.t.worker.p.dead && (!s.ended || s.deleting)
}

// WriteFile implements [state.FileWriter].
func (s *stateWriter) WriteFile(ctx context.Context, data []byte) (state.File, error) {
	return s.write(ctx, data, func(name string) (key, path string) {
		if s.b.Kind == record.Savepoint {
			name = snapshot.SavepointFilePrefix(s.b.Checkpoint) + name
		}
		return s.b.Target + name, name
	})
}

// WriteShared implements [state.SharedWriter].
func (s *stateWriter) WriteShared(ctx context.Context, data []byte) (state.File, error) {
	if s.b.Shared == "" {
		return state.File{}, errors.New("the snapshot has no place for shared files")
	}
	f, err := s.write(ctx, data, func(name string) (key, path string) {
		s.t.w.keeper.created(s.b.Shared+name, s.b.Target)
		return s.b.Shared + name, snapshot.SharedPrefix + name
	})
	f.Shared = true
	return f, err
}

func (s *stateWriter) write(ctx context.Context, data []byte, place func(name string) (key, path string)) (state.File, error) {
	if err := ctx.Err(); err != nil {
		return state.File{}, err
	}
	w := s.t.w
	s.t.files++
	key, path := place(fmt.Sprintf("%s-%s-%d-%d", s.t.attempt.deploy.Attempt, s.t.id.Vertex, s.t.id.Subtask, s.t.files))
	s.created = append(s.created, key)
	w.keeper.writers[key] = s
	f := state.File{Path: path, Size: int64(len(data)), CRC32C: snapshot.Checksum(data)}
	odds := w.faults.storage * 4
	if s.b.Stop != record.StopNone {
		odds = 8 // a stop that is given up is rare otherwise, and has to thaw every task
	}
	fault := w.calls.next(true)
	if w.storageDown() || w.faulty() && w.clock.chance(odds) {
		fault = refused
		if w.clock.chance(2) {
			fault = noAnswer
		}
	}
	switch fault {
	case noFault:
		return f, w.store.create(key, data)
	case refused:
		return f, errRefused
	default:
		_ = w.store.create(key, data)
		return f, errNoAnswer
	}
}

// discard deletes the files that nobody will hear of. What can't be deleted is left over.
func (s *stateWriter) discard() {
	w := s.t.w
	if len(s.created) == 0 || w.mutation == PartLeft {
		return
	}
	s.deleting = true
	call(w, s.t.worker.p, "discard files", func() (bool, error) { return true, w.store.remove(s.created) }, func(_ bool, err error) {
		s.deleting, s.refused = false, err != nil
	})
}

// stateReader reads the files of the snapshot that is restored.
type stateReader struct {
	w   *world
	dir string
}

// ReadFile implements [state.FileReader].
func (r stateReader) ReadFile(_ context.Context, f state.File, off, n int64) ([]byte, error) {
	if r.w.calls.next(true) != noFault || r.w.storageDown() || r.w.faulty() && r.w.clock.chance(r.w.faults.storage*4) {
		return nil, errRefused
	}
	key := snapshot.FileKey(r.dir, f.Path)
	b, err := r.w.store.getRange(key, off, n)
	switch {
	case errors.Is(err, storage.ErrNotFound):
		return nil, &state.CorruptError{Path: key, Section: "file", Reason: "it doesn't exist"}
	case err == nil && int64(len(b)) != n:
		return nil, &state.CorruptError{Path: key, Section: "file", Offset: off + int64(len(b)), Reason: "it ends early"}
	}
	return b, err
}
