// SPDX-License-Identifier: Apache-2.0

package worker

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/weir-stream/weir/runtime/contract"
	"github.com/weir-stream/weir/runtime/protocol"
	"github.com/weir-stream/weir/runtime/record"
	"github.com/weir-stream/weir/runtime/snapshot"
	"github.com/weir-stream/weir/runtime/state"
	"github.com/weir-stream/weir/runtime/storage"
)

func keyedFiles(acks []protocol.FromWorker) []state.File {
	var files []state.File
	for _, m := range acks {
		if m.Ack != nil {
			for _, s := range m.Ack.Operators {
				files = append(files, s.Keyed...)
			}
		}
	}
	return files
}

func TestIncrementalCheckpointAndRestore(t *testing.T) {
	f, j := newFakeCoordinator(t), newTestJob()
	f.job.Checkpointing = &contract.Checkpointing{Interval: contract.Duration(time.Hour)}
	j.keys = 1000
	store := newStore()
	startWorker(t.Context(), t, options(t, "w", f, j, store))
	c := f.accept()
	j.allow(5000, false)
	c.send(protocol.ToWorker{Deploy: deployment(1, 2, []*fakeConn{c}, nil)[c]})
	j.awaitTotal(t, 10_000)
	first := checkpoint(c, record.Barrier{Checkpoint: 1, Target: "checkpoints/chk-1/", Shared: "shared/"})
	j.allow(5001, false)
	j.awaitTotal(t, 10_002)
	second := checkpoint(c, record.Barrier{Checkpoint: 2, Base: 1, Target: "checkpoints/chk-2/", Shared: "shared/"})
	reused := map[string]bool{}
	for _, file := range keyedFiles(second) {
		if file.Reused {
			reused[file.Path] = true
		}
	}
	for _, file := range keyedFiles(first) {
		if file.Shared && !reused[file.Path] {
			t.Errorf("%s isn't used again", file.Path)
		}
	}
	for _, file := range keyedFiles(second) {
		if _, _, err := store.Get(t.Context(), snapshot.FileKey("checkpoints/chk-2/", file.Path)); err != nil {
			t.Errorf("%s: %v", file.Path, err)
		}
	}

	c.send(protocol.ToWorker{Cancel: &protocol.Cancel{Attempt: attemptK(1)}})
	c.states(protocol.TaskCanceled, 8)
	j.reset()
	j.allow(6001, false)
	d := deployment(2, 2, []*fakeConn{c}, second)[c]
	d.RestoreDir = "checkpoints/chk-2/"
	c.send(protocol.ToWorker{Deploy: d})
	j.awaitTotal(t, 12_002)
}

// brokenIndex takes shared files but no others, and tells which of them are deleted.
type brokenIndex struct {
	storage.Store
	deleted chan string
}

func (s *brokenIndex) PutIfAbsent(ctx context.Context, key string, data []byte) error {
	if !strings.HasPrefix(key, "shared/") {
		return errors.New("no room")
	}
	return s.Store.PutIfAbsent(ctx, key, data)
}

func (s *brokenIndex) Delete(ctx context.Context, keys ...string) error {
	err := s.Store.Delete(ctx, keys...)
	for _, k := range keys {
		if strings.HasPrefix(k, "shared/") {
			s.deleted <- k
		}
	}
	return err
}

func TestSharedFilesOfAFailedPartAreDeleted(t *testing.T) {
	f, j := newFakeCoordinator(t), newTestJob()
	f.job.Checkpointing = &contract.Checkpointing{Interval: contract.Duration(time.Hour)}
	store := &brokenIndex{Store: newStore(), deleted: make(chan string, 8)}
	startWorker(t.Context(), t, options(t, "w", f, j, store))
	c := f.accept()
	j.allow(100, false)
	c.send(protocol.ToWorker{Deploy: deployment(1, 2, []*fakeConn{c}, nil)[c]})
	j.awaitTotal(t, 200)
	c.send(protocol.ToWorker{Trigger: &protocol.Trigger{
		Attempt: attemptK(1), Barrier: record.Barrier{Checkpoint: 1, Target: "checkpoints/chk-1/", Shared: "shared/"},
		Tasks: []protocol.TaskID{{Vertex: "numbers"}, {Vertex: "numbers", Subtask: 1}},
	}})
	declined := 0
	c.until(func(m protocol.FromWorker) bool {
		if m.Decline != nil {
			declined++
		}
		return declined == 2
	})
	for range 2 {
		select {
		case <-store.deleted:
		case <-time.After(patience):
			t.Fatal("nothing is deleted")
		}
	}
}

func TestMemoryBudgetFailsTheTask(t *testing.T) {
	f, j := newFakeCoordinator(t), newTestJob()
	f.job.StateBackend = &contract.StateBackend{MemoryBudget: 500_000}
	j.keys = 100_000
	startWorker(t.Context(), t, options(t, "w", f, j, newStore()))
	c := f.accept()
	j.allow(200_000, false)
	c.send(protocol.ToWorker{Deploy: deployment(1, 2, []*fakeConn{c}, nil)[c]})
	failed, ended := 0, 0
	c.until(func(m protocol.FromWorker) bool {
		if m.Status == nil || m.Status.State != protocol.TaskFailed && m.Status.State != protocol.TaskCanceled {
			return false
		}
		ended++
		if s := m.Status; s.State == protocol.TaskFailed {
			if s.Task.Vertex != "count" || s.Fatal || !strings.Contains(s.Error, "memory budget of 500000 bytes") || !strings.Contains(s.Error, `operator "count"`) {
				t.Errorf("task %s: fatal %v, %s", s.Task, s.Fatal, s.Error)
			}
			if failed++; failed == 1 {
				c.send(protocol.ToWorker{Cancel: &protocol.Cancel{Attempt: attemptK(1)}})
			}
		}
		return ended == 8
	})
	// The memory of the failed attempt is free for the next one.
	j.reset()
	j.allow(100, false)
	c.send(protocol.ToWorker{Deploy: deployment(2, 2, []*fakeConn{c}, nil)[c]})
	j.awaitTotal(t, 200)
}
