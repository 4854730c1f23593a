// SPDX-License-Identifier: Apache-2.0

package worker

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/sync/semaphore"

	"github.com/weir-stream/weir/runtime/contract"
	"github.com/weir-stream/weir/runtime/protocol"
	"github.com/weir-stream/weir/runtime/record"
	"github.com/weir-stream/weir/runtime/state"
	"github.com/weir-stream/weir/runtime/storage"
	"github.com/weir-stream/weir/runtime/storage/memstore"
	"github.com/weir-stream/weir/runtime/task"
)

// silentStore takes what is written and doesn't answer until the caller gives up; it tells what was written and what is deleted.
type silentStore struct {
	storage.Store
	written, deleted chan string
}

func (s *silentStore) PutIfAbsent(ctx context.Context, key string, data []byte) error {
	if err := s.Store.PutIfAbsent(ctx, key, data); err != nil {
		return err
	}
	s.written <- key
	<-ctx.Done()
	return context.Cause(ctx)
}

func (s *silentStore) Delete(ctx context.Context, keys ...string) error {
	err := s.Store.Delete(ctx, keys...)
	for _, k := range keys {
		s.deleted <- k
	}
	return err
}

func take(t *testing.T, from <-chan string, n int) []string {
	t.Helper()
	var keys []string
	for range n {
		select {
		case k := <-from:
			keys = append(keys, k)
		case <-time.After(patience):
			t.Fatalf("nothing comes after %v", keys)
		}
	}
	slices.Sort(keys)
	return keys
}

// A savepoint that is given up while its files are being written leaves none: only the worker knows them.
func TestFilesOfAnAbortedSavepointAreDeleted(t *testing.T) {
	f, j := newFakeCoordinator(t), newTestJob()
	f.job.Checkpointing = &contract.Checkpointing{Interval: contract.Duration(time.Hour)}
	mem := memstore.New("test", nil)
	store := &silentStore{Store: mem.Client(memstore.Options{}), written: make(chan string, 8), deleted: make(chan string, 8)}
	startWorker(t.Context(), t, options(t, "w", f, j, store))
	c := f.accept()
	j.allow(100, false)
	c.send(protocol.ToWorker{Deploy: deployment(1, 2, []*fakeConn{c}, nil)[c]})
	j.awaitTotal(t, 200)
	c.send(protocol.ToWorker{Trigger: &protocol.Trigger{
		Attempt: attemptK(1), Barrier: record.Barrier{Checkpoint: 7, Kind: record.Savepoint, Target: "savepoints/savepoint-job-1-op/"},
		Tasks: []protocol.TaskID{{Vertex: "numbers"}, {Vertex: "numbers", Subtask: 1}},
	}})
	written := take(t, store.written, 2)
	for _, k := range written {
		if !strings.HasPrefix(k, "savepoints/savepoint-job-1-op/7-") {
			t.Errorf("the file %s can't be told from those of other savepoints", k)
		}
	}
	c.send(protocol.ToWorker{Aborted: &protocol.Aborted{Attempt: attemptK(1), Checkpoint: 7}})
	if deleted := take(t, store.deleted, 2); !slices.Equal(deleted, written) {
		t.Errorf("%v were deleted, %v written", deleted, written)
	}
	if left := mem.Keys(); len(left) > 0 {
		t.Errorf("%v are left", left)
	}
}

// How the part ends doesn't matter: the task is over, storage fails, or everything was written and nobody acknowledges it.
func TestFilesOfAPartThatIsNotAcknowledgedAreDeleted(t *testing.T) {
	for name, end := range map[string]func(ctx context.Context) error{
		"cancelled":      func(ctx context.Context) error { <-ctx.Done(); return context.Cause(ctx) },
		"failed":         func(context.Context) error { return errors.New("no room") },
		"panicked":       func(context.Context) error { panic("a bug") },
		"all is written": func(context.Context) error { return nil },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				mem := memstore.New("test", nil)
				w := &worker{log: logr.Discard(), async: semaphore.NewWeighted(1)}
				s := &taskSlot{a: &attempt{w: w, job: &jobSetup{store: mem.Client(memstore.Options{})}}, mail: task.NewMailbox(func() {})}
				e := newTaskEnv(t.Context(), s)
				e.StartAsync(record.Barrier{Checkpoint: 7, Kind: record.Savepoint, Target: "sp/"}, func(ctx context.Context, fw state.FileWriter) (task.AsyncResult, error) {
					for range 2 {
						if _, err := fw.WriteFile(ctx, []byte("state")); err != nil {
							t.Error(err)
						}
					}
					return task.AsyncResult{}, end(ctx)
				})
				synctest.Wait()
				if n := len(mem.Keys()); n != 2 {
					t.Errorf("%d files were written, want 2", n)
				}
				e.close()
				w.attempts.Wait()
				if left := mem.Keys(); len(left) > 0 {
					t.Errorf("%v are left", left)
				}
			})
		})
	}
}
