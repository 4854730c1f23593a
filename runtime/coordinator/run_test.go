// SPDX-License-Identifier: Apache-2.0

package coordinator

import (
	"context"
	"errors"
	"net"
	goruntime "runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weir-stream/weir/runtime/contract"
	"github.com/weir-stream/weir/runtime/graph"
	"github.com/weir-stream/weir/runtime/protocol"
	"github.com/weir-stream/weir/runtime/storage"
	"github.com/weir-stream/weir/runtime/storage/memstore"
	"github.com/weir-stream/weir/runtime/transport/control"
)

func TestRun_CheckpointsAndStopsWithASavepoint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		r := c.start(c.options())
		r.await("workers to be missing", func(s *contract.JobStatus) bool { return s.State == contract.JobWaiting })
		w := r.worker("w1")
		r.await("a checkpoint", hasCheckpoint)
		op := r.stop("op-1")
		if op.Phase != contract.OperationSucceeded || op.Path != "/test/savepoints/savepoint-012345-op-1/" {
			t.Errorf("the operation is %+v", op)
		}
		res, err := r.wait()
		if err != nil || res.State != contract.JobStopped {
			t.Errorf("ended %s, %v", res.State, err)
		}
		<-w.done
		if !w.mu.shutdown {
			t.Error("the worker was not told to end")
		}
		again, err := r.Operation(t.Context(), "op-1", 0)
		if err != nil || again.Path != op.Path {
			t.Errorf("after the end the operation is %+v, %v", again, err)
		}
	})
}

func TestRun_ResumesFromWhatTheHeadNames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		o := c.options()
		o.Job.JobID = "" // found by listing the second time
		r := c.start(o)
		r.worker("w1")
		r.await("running", isRunning)
		op := r.stop("op-1")
		first, _ := r.wait()

		r = c.start(o)
		w := r.worker("w2")
		s := r.await("running again", isRunning)
		if s.JobID != first.Status.JobID || s.RestoredFrom == nil || s.RestoredFrom.Path != op.Path {
			t.Errorf("job %s restored from %+v, want %s from %s", s.JobID, s.RestoredFrom, first.Status.JobID, op.Path)
		}
		if d := w.deployments(); len(d) != 1 || d[0].RestoredFrom != op.Checkpoint {
			t.Errorf("deployed %+v, want a restore from %d", d, op.Checkpoint)
		}
		r.cancel()
		res, err := r.wait()
		if err != nil || res.State != contract.JobSuspended {
			t.Errorf("ended %s, %v", res.State, err)
		}
	})
}

func TestRun_FreshStartsAnotherJobBesideTheState(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		o := c.options()
		o.Job.JobID, o.Fresh = "", true
		var ids []string
		for range 2 {
			r := c.start(o)
			r.worker("w")
			ids = append(ids, r.await("a checkpoint", hasCheckpoint).JobID)
			r.cancel()
			_, _ = r.wait()
		}
		if ids[0] == ids[1] {
			t.Errorf("both jobs have id %s", ids[0])
		}
		found, err := FindJob(t.Context(), o.Store, o.Job)
		if err != nil || found == nil || found.JobID != ids[1] {
			t.Errorf("found %+v, %v, want the one that was active last, %s", found, err, ids[1])
		}
	})
}

func TestRun_RestartsWhenAWorkerIsLost(t *testing.T) {
	tests := map[string]func(w *fakeWorker){
		"its connection ends": func(w *fakeWorker) { _ = w.stream.Close() },
		"it is silent": func(w *fakeWorker) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.mu.mute = true
		},
	}
	for name, lose := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCluster(t)
				r := c.start(c.options())
				w := r.worker("w1")
				r.await("a checkpoint", hasCheckpoint)
				lose(w)
				next := r.worker("w2")
				s := r.await("a restart", func(s *contract.JobStatus) bool { return s.Restarts == 1 && isRunning(s) })
				if s.LastFailure == nil || s.LastFailure.Worker != "w1" || s.RestoredFrom == nil {
					t.Errorf("last failure %+v, restored from %+v", s.LastFailure, s.RestoredFrom)
				}
				if d := next.deployments(); len(d) != 1 || d[0].RestoredFrom == 0 {
					t.Errorf("deployed %+v, want a restore", d)
				}
				<-w.done
				r.cancel()
				_, _ = r.wait()
			})
		})
	}
}

func TestRun_IsFencedByANewerCoordinator(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		old := c.start(c.options())
		old.worker("w1")
		old.await("running", isRunning)
		o := c.options()
		o.Grant = 2
		next := c.start(o)
		next.worker("w2")
		res, err := old.wait()
		if !Fenced(err) || res.State != contract.JobSuspended {
			t.Errorf("the old one ended %s, %v, want fenced", res.State, err)
		}
		next.await("running", isRunning)
		next.cancel()
		_, _ = next.wait()

		o.Grant = 1
		_, err = c.start(o).wait()
		if !Fenced(err) {
			t.Errorf("a lower grant ends with %v, want fenced", err)
		}
	})
}

func TestRun_ReadsBackSwapsOfUnknownOutcome(t *testing.T) {
	tests := map[string]func(call int) memstore.Fault{
		"the answer is lost":  func(int) memstore.Fault { return memstore.FailAfter(nil) },
		"the request is lost": func(int) memstore.Fault { return memstore.FailBefore(nil) },
	}
	for name, fault := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCluster(t)
				o := c.options()
				swaps := 0
				o.Store = c.store.Client(memstore.Options{Faults: func(op, key string, _ int) memstore.Fault {
					if op != memstore.OpSwap || !strings.HasSuffix(key, HeadName) {
						return memstore.None()
					}
					if swaps++; swaps%2 == 0 {
						return memstore.None()
					}
					return fault(swaps)
				}})
				r := c.start(o)
				r.worker("w1")
				r.await("a checkpoint", hasCheckpoint)
				if op := r.stop("op-1"); op.Phase != contract.OperationSucceeded {
					t.Errorf("the operation is %+v", op)
				}
				if _, err := r.wait(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// What could not be deleted for a while is gone later: while the job runs, and with the end that takes its checkpoints along.
func TestRun_DeletesLaterWhatItCouldNotDelete(t *testing.T) {
	tests := map[string]func(*running){
		"with the next": func(*running) {},
		"at the end": func(r *running) {
			if _, err := r.Cancel(r.t.Context(), contract.CancelRequest{OperationID: "cancel-1"}); err != nil {
				r.t.Fatal(err)
			}
		},
	}
	for name, end := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCluster(t)
				o := c.options()
				o.Job.Checkpointing.RetentionCount, o.Job.Checkpointing.DeleteOnCancel = 1, true
				var denied atomic.Bool
				denied.Store(true)
				refused := make(chan struct{}, 100)
				o.Store = c.store.Client(memstore.Options{Faults: func(op, key string, _ int) memstore.Fault {
					if op == memstore.OpDelete && strings.Contains(key, "/chk-") && denied.Load() {
						refused <- struct{}{}
						return memstore.FailBefore(errors.New("denied"))
					}
					return memstore.None()
				}})
				r := c.start(o)
				r.worker("w1")
				s := r.await("two checkpoints", func(s *contract.JobStatus) bool { return s.LastCheckpoint != nil && s.LastCheckpoint.ID > 1 })
				first := strings.TrimPrefix(s.LastCheckpoint.Path, "/test/")
				<-refused
				r.await("a third", func(s *contract.JobStatus) bool { return s.LastCheckpoint.ID > 2 })
				<-refused
				denied.Store(false)
				end(r)
				for range 600 {
					if !slices.ContainsFunc(c.store.Keys(), func(key string) bool {
						return strings.HasPrefix(key, first) || strings.Contains(key, "/chk-1/")
					}) {
						return
					}
					time.Sleep(100 * time.Millisecond)
				}
				t.Errorf("left: %v", c.store.Keys())
			})
		})
	}
}

// hangingDeletions is a store that doesn't answer deletions of checkpoints.
type hangingDeletions struct {
	storage.Store
	underway atomic.Int64
}

func (s *hangingDeletions) Delete(ctx context.Context, keys ...string) error {
	if !strings.Contains(keys[0], "/chk-") {
		return s.Store.Delete(ctx, keys...)
	}
	s.underway.Add(1)
	defer s.underway.Add(-1)
	<-ctx.Done()
	return context.Cause(ctx)
}

// Deletions that don't end hold up neither the head nor a manifest.
func TestRun_RestartsWhileDeletionsHang(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		o := c.options()
		const kept = 20
		o.Job.Checkpointing.RetentionCount = kept
		store := &hangingDeletions{Store: o.Store}
		o.Store = store
		r := c.start(o)
		defer func() {
			r.cancel()
			_, _ = r.wait()
		}()
		w := r.worker("w1")
		s := r.await("as many checkpoints as are kept", func(s *contract.JobStatus) bool { return s.LastCheckpoint != nil && s.LastCheckpoint.ID >= kept })
		p := contract.Policy{Revision: "p", Checkpointing: new(*o.Job.Checkpointing), Restart: o.Job.Restart}
		p.Checkpointing.RetentionCount = 1
		if _, err := r.setPolicy(t.Context(), p); err != nil {
			t.Fatal(err)
		}
		last := s.LastCheckpoint.ID
		r.await("the next one", func(s *contract.JobStatus) bool { return s.LastCheckpoint.ID > last })
		synctest.Wait()
		if n := store.underway.Load(); n != maxStorageCalls {
			t.Errorf("%d deletions are under way, want %d", n, maxStorageCalls)
		}
		_ = w.stream.Close()
		r.worker("w2")
		lost := time.Now()
		r.await("a restart", func(s *contract.JobStatus) bool { return s.Restarts == 1 && isRunning(s) })
		if d := time.Since(lost); d > 5*time.Second {
			t.Errorf("the restart took %v", d)
		}
		if _, err := r.Cancel(t.Context(), contract.CancelRequest{OperationID: "op-1"}); err != nil {
			t.Fatal(err)
		}
		if res, err := r.wait(); err != nil || res.State != contract.JobCancelled {
			t.Errorf("ended %s, %v", res.State, err)
		}
	})
}

func TestRun_EndsInEveryState(t *testing.T) {
	tests := map[string]func(r *running){
		"before anything": func(*running) {},
		"without workers": func(r *running) {
			r.await("workers", func(s *contract.JobStatus) bool { return s.State == contract.JobWaiting })
		},
		"running": func(r *running) { r.worker("w1"); r.await("running", isRunning) },
		"waiting to restart": func(r *running) {
			w := r.worker("w1")
			r.await("running", isRunning)
			_ = w.stream.Close()
			r.await("restarting", func(s *contract.JobStatus) bool { return s.State == contract.JobRestarting })
		},
	}
	for name, reach := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCluster(t)
				r := c.start(c.options())
				reach(r)
				r.cancel()
				res, err := r.wait()
				if res.State != contract.JobSuspended || (err != nil && !errors.Is(err, context.Canceled)) {
					t.Errorf("ended %s, %v", res.State, err)
				}
			})
		})
	}
}

func TestRun_TellsTheWorkersOfAFailedJobThatItIsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		o := c.options()
		o.Job.Restart = contract.Restart{None: &struct{}{}}
		r := c.start(o)
		w := r.worker("w1")
		r.await("running", isRunning)
		d := w.deployments()[0]
		failed := protocol.TaskStatus{Attempt: d.Attempt, Task: d.Tasks[0].Task, State: protocol.TaskFailed, Error: "boom"}
		if err := w.stream.Send(protocol.FromWorker{Status: &failed}); err != nil {
			t.Fatal(err)
		}
		if res, err := r.wait(); err != nil || res.State != contract.JobFailed {
			t.Errorf("ended %s, %v", res.State, err)
		}
		<-w.done
		if !w.mu.shutdown {
			t.Error("the worker was not told to end")
		}
	})
}

// A job that goes on from the savepoint that stopped it has that stop in its head, and until it is claimed nothing else says that it is over.
func TestRun_ThatEndsBeforeAResumedJobIsClaimedSaysNothingOfTheJob(t *testing.T) {
	tests := map[string]func(c *cluster, r *running){
		"it is told to end":          func(_ *cluster, r *running) { r.cancel() },
		"the storage takes too long": func(*cluster, *running) {},
		"another coordinator claimed it": func(c *cluster, _ *running) {
			if _, err := Fence(c.t.Context(), c.granted(7), nil); err != nil {
				c.t.Error(err)
			}
		},
	}
	for name, end := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCluster(t)
				c.stopped()
				o := c.granted(2)
				o.Store = c.store.Client(memstore.Options{Faults: func(op, _ string, _ int) memstore.Fault {
					if op == memstore.OpSwap {
						return memstore.FailBefore(nil)
					}
					return memstore.None()
				}})
				r := c.start(o)
				w := r.worker("w2")
				r.await("the storage", func(s *contract.JobStatus) bool { return s.Problem != nil })
				end(c, r)
				res, _ := r.wait()
				if res.State != contract.JobSuspended || res.Status.State != contract.JobSuspended {
					t.Errorf("ended %s, with the status %s", res.State, res.Status.State)
				}
				<-w.done
				if w.mu.shutdown {
					t.Error("the worker was told that the job is over")
				}
			})
		})
	}
}

func TestRun_StopsServersThatDidNotServeYet(t *testing.T) {
	defer goruntime.GOMAXPROCS(goruntime.GOMAXPROCS(1)) // what is started runs only when the one who starts it waits
	o := newCluster(t).options()
	listen := func() net.Listener {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	o.Control, o.API = listen(), listen()
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.startServers().stop(t.Context()); err != nil {
		t.Errorf("stopping servers at once: %v", err)
	}
	for name, l := range map[string]net.Listener{"control": o.Control, "API": o.API} {
		if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("the listener of the %s server is not closed: %v", name, err)
		}
	}
}

func TestRun_RefusesWorkers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		o := c.options()
		o.Version = "v2"
		r := c.start(o)
		r.await("workers to be missing", func(s *contract.JobStatus) bool { return s.State == contract.JobWaiting })
		stream, end, closeEnd := control.Pipe(t.Context())
		go func() {
			_ = r.Handle(end)
			closeEnd()
		}()
		w := &fakeWorker{stream: stream, done: make(chan struct{})}
		go w.run(protocol.Register{Worker: "w1", Slots: 1, Protocol: protocol.ControlVersion, Version: "v1"})
		<-w.done
		if want := "the worker has version v1 and the coordinator v2: run the same build"; w.mu.refused != want {
			t.Errorf("refused with %q, want %q", w.mu.refused, want)
		}
		r.cancel()
		_, _ = r.wait()
	})
}

func TestRun_WithoutStorage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		o := c.options()
		o.Durable, o.Job.Storage = false, nil
		r := c.start(o)
		w := r.worker("w1")
		s := r.await("a checkpoint", hasCheckpoint)
		if len(s.Warnings) == 0 {
			t.Error("the status doesn't warn that checkpoints are in memory")
		}
		_, err := r.Stop(t.Context(), contract.StopRequest{OperationID: "op-1"})
		if e, ok := errors.AsType[*contract.APIError](err); !ok || e.Status != 409 || e.Remedy == "" {
			t.Errorf("a stop with savepoint ends with %v, want a refusal", err)
		}
		_ = w.stream.Close()
		r.worker("w2")
		s = r.await("a restart", func(s *contract.JobStatus) bool { return s.Restarts == 1 && isRunning(s) })
		if s.RestoredFrom == nil {
			t.Error("the restart did not restore from the checkpoint in memory")
		}
		if _, err := r.Cancel(t.Context(), contract.CancelRequest{OperationID: "op-2"}); err != nil {
			t.Fatal(err)
		}
		if res, err := r.wait(); err != nil || res.State != contract.JobCancelled {
			t.Errorf("ended %s, %v", res.State, err)
		}
	})
}

func TestRun_BadConfigurations(t *testing.T) {
	tests := map[string]struct {
		change func(o *Options)
		want   string
	}{
		"the graph can't be built": {
			func(o *Options) {
				o.Build = func(contract.JobConfig) (*graph.Graph, error) { return nil, errors.New("no such column") }
			},
			"no such column",
		},
		"parallelism": {func(o *Options) { o.Job.Parallelism, o.Job.MaxParallelism = 4, 2 }, "above maxParallelism 2"},
		"restore from elsewhere": {
			func(o *Options) { o.Job.RestoreFrom = "/other/savepoint" },
			"is not in the job's storage /test",
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t)
			o := c.options()
			tc.change(&o)
			_, err := c.start(o).wait()
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("ended with %v, want %q", err, tc.want)
			}
		})
	}
}
