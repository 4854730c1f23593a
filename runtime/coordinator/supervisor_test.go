// SPDX-License-Identifier: Apache-2.0

package coordinator

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr/testr"

	"github.com/weir-stream/weir/runtime/contract"
	"github.com/weir-stream/weir/runtime/graph"
	"github.com/weir-stream/weir/runtime/storage"
)

// supervised is a supervisor of a cluster's job, without servers.
type supervised struct {
	*Supervisor
	t *testing.T
	// failures are what the next coordinators can't be made for.
	failures []error
	made     []*Coordinator
	done     chan struct{}
}

// lateError is an error that takes its time.
type lateError struct {
	error
	after time.Duration
}

func (e lateError) Unwrap() error { return e.error }

// newJob are the options of a job that may be started anew.
func (c *cluster) newJob() Options {
	o := c.options()
	o.Job.NewJobID = o.Job.JobID
	return o
}

func (c *cluster) supervise(o func() Options, failures ...error) *supervised {
	c.t.Helper()
	ctx, cancel := context.WithCancel(c.t.Context())
	s := &supervised{t: c.t, failures: failures, done: make(chan struct{})}
	first := o()
	s.Supervisor = NewSupervisor(SupervisorOptions{
		Grant: first.Grant, Standby: first.Standby,
		Namespace: "default", Name: "test", Durable: true, Log: testr.New(c.t),
		Make: func(context.Context) (*Coordinator, func(), error) {
			if len(s.failures) > 0 {
				err := s.failures[0]
				s.failures = s.failures[1:]
				if l, ok := errors.AsType[lateError](err); ok {
					time.Sleep(l.after)
				}
				return nil, nil, err
			}
			options := o()
			options.Operated = true
			co, err := New(options)
			s.made = append(s.made, co)
			return co, func() {}, err
		},
	})
	go func() {
		defer close(s.done)
		s.supervise(ctx)
	}()
	c.t.Cleanup(func() {
		cancel()
		<-s.done
	})
	return s
}

// await waits until the status is as wanted.
func (s *supervised) await(what string, want func(*contract.JobStatus) bool) *contract.JobStatus {
	s.t.Helper()
	for range 600 {
		st, err := s.status(s.t.Context())
		if err == nil && want(st) {
			return st
		}
		time.Sleep(100 * time.Millisecond)
	}
	st, err := s.status(s.t.Context())
	s.t.Fatalf("waiting for %s in vain: %+v %v", what, st, err)
	return nil
}

func (s *supervised) worker(name string) {
	s.t.Helper()
	r := &running{Coordinator: s.made[len(s.made)-1], t: s.t}
	r.worker(name)
}

func TestSupervisor_TellsAProblemAndTriesAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		s := c.supervise(c.newJob,
			&storage.Error{Op: "opening", Store: "s3://none", Err: errors.New("no such bucket"), Reason: storage.Missing},
			&storage.Error{Op: "opening", Store: "s3://none", Err: errors.New("connection refused"), Retriable: true},
		)
		st := s.await("the first problem", func(s *contract.JobStatus) bool { return s.Problem != nil })
		if st.State != contract.JobStarting || !st.Durable || st.Problem.Reason != contract.StorageNotFound || st.Problem.RetryAt.IsZero() {
			t.Errorf("got %+v with %+v", st, st.Problem)
		}
		if _, err := s.submit(t.Context(), submission{id: "a", typ: contract.StopOperation}); !isUnavailable(err) {
			t.Errorf("a request without a coordinator: %v", err)
		}
		s.await("the second problem", func(s *contract.JobStatus) bool {
			return s.Problem != nil && s.Problem.Reason == contract.StorageUnavailable
		})
		s.await("a coordinator", func(s *contract.JobStatus) bool { return s.State == contract.JobWaiting })
		s.worker("w1")
		if st := s.await("running", isRunning); st.Problem != nil {
			t.Errorf("the problem is over, but told: %+v", st.Problem)
		}
	})
}

// A storage that takes connections and doesn't answer is found to be away late each time. That is one trouble, not a new one with each try.
func TestSupervisor_TellsSinceWhenAStorageThatDoesNotAnswerIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		away := lateError{error: &storage.Error{Op: "opening", Store: "s3://none", Err: context.DeadlineExceeded, Retriable: true}, after: 2 * lastRestart}
		s := c.supervise(c.newJob, away, away, away)
		first := s.await("the first problem", func(s *contract.JobStatus) bool { return s.Problem != nil }).Problem
		last := first
		for _, what := range []string{"the second problem", "the third problem"} {
			p := s.await(what, func(s *contract.JobStatus) bool { return s.Problem != nil && s.Problem.RetryAt.After(last.RetryAt) }).Problem
			last = p
			if !p.Since.Equal(first.Since) {
				t.Errorf("%s is there since %v, want since %v", what, p.Since, first.Since)
			}
		}
	})
}

func isUnavailable(err error) bool {
	e, ok := errors.AsType[*contract.APIError](err)
	return ok && e.Status == http.StatusServiceUnavailable
}

func TestSupervisor_GoesOnTellingHowTheJobEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		s := c.supervise(c.newJob)
		s.await("a coordinator", func(s *contract.JobStatus) bool { return s.State == contract.JobWaiting })
		s.worker("w1")
		s.await("running", isRunning)
		if _, err := s.submit(t.Context(), submission{id: "stop-1", typ: contract.StopOperation}); err != nil {
			t.Fatal(err)
		}
		s.await("the end", func(s *contract.JobStatus) bool { return s.State == contract.JobStopped })
		time.Sleep(time.Hour)
		op, err := s.operation(t.Context(), "stop-1", 0)
		if err != nil || op.Phase != contract.OperationSucceeded || op.Path == "" {
			t.Errorf("an hour later the operation is %+v, %v", op, err)
		}
		if len(s.made) != 1 {
			t.Errorf("%d coordinators were made for a job that ended", len(s.made))
		}
	})
}

func TestSupervisor_TellsAfterARestartHowTheJobEnded(t *testing.T) {
	tests := map[string]struct {
		request submission
		state   contract.JobState
		saved   bool
	}{
		"stopped":                    {submission{typ: contract.StopOperation}, contract.JobStopped, true},
		"drained":                    {submission{typ: contract.StopOperation, drain: true}, contract.JobFinished, true},
		"cancelled":                  {submission{typ: contract.CancelOperation}, contract.JobCancelled, false},
		"cancelled with a savepoint": {submission{typ: contract.CancelOperation, savepoint: true}, contract.JobCancelled, true},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCluster(t)
				granted := func() Options {
					o := c.newJob()
					o.Grant = 1
					return o
				}
				s := c.supervise(granted)
				s.await("a coordinator", func(s *contract.JobStatus) bool { return s.State == contract.JobWaiting })
				s.worker("w1")
				s.await("running", isRunning)
				tc.request.id = "end-1"
				if _, err := s.submit(t.Context(), tc.request); err != nil {
					t.Fatal(err)
				}
				s.await("the end", func(s *contract.JobStatus) bool { return s.State.Ended() })
				first, err := s.operation(t.Context(), "end-1", 0)
				if err != nil {
					t.Fatal(err)
				}

				s = c.supervise(granted)
				st := s.await("the end", func(s *contract.JobStatus) bool { return s.State.Ended() })
				if st.State != tc.state || st.Problem != nil {
					t.Errorf("the state is %s, want %s; the problem is %+v", st.State, tc.state, st.Problem)
				}
				if !tc.saved {
					return // the head says how the job ended, and needs to say no more
				}
				op, err := s.operation(t.Context(), "end-1", 0)
				if err != nil || op.Phase != contract.OperationSucceeded || op.Path == "" || op.Path != first.Path {
					t.Errorf("the operation is %+v, %v, want %+v", op, err, first)
				}
				if again, err := s.submit(t.Context(), tc.request); err != nil || again != op {
					t.Errorf("asked for again it is %+v, %v", again, err)
				}
				if len(st.Operations) != 1 || st.Operations[0] != op {
					t.Errorf("the status names %+v", st.Operations)
				}
			})
		})
	}
}

func TestSupervisor_LeavesStateThatIsNotItsOwnAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		c.stopped()
		before, _, _, err := readHead(t.Context(), c.options().Store, "default/test/0123456789/")
		if err != nil {
			t.Fatal(err)
		}
		s := c.supervise(func() Options {
			o := c.options()
			o.Job.JobID, o.Job.NewJobID = "", "abc"
			return o
		})
		st := s.await("a problem", func(s *contract.JobStatus) bool { return s.Problem != nil })
		p := st.Problem
		if p.Reason != contract.RetainedState || p.JobID != "0123456789" || p.HeadGrant != 1 || p.HeadFinal != "Suspended" || !p.RetryAt.IsZero() {
			t.Errorf("got %+v", p)
		}
		after, _, _, err := readHead(t.Context(), c.options().Store, "default/test/0123456789/")
		if err != nil || after.Seq != before.Seq {
			t.Errorf("the head went from %d to %d, %v", before.Seq, after.Seq, err)
		}
		if found, err := FindJob(t.Context(), c.options().Store, contract.JobConfig{Namespace: "default", Name: "test", JobID: "abc"}); found != nil || err != nil {
			t.Errorf("a job was started: %+v, %v", found, err)
		}
	})
}

func TestSupervisor_SaysWhoShutItOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		s := c.supervise(c.newJob)
		s.await("a coordinator", func(s *contract.JobStatus) bool { return s.State == contract.JobWaiting })
		s.worker("w1")
		s.await("a checkpoint", hasCheckpoint)
		if _, err := Fence(t.Context(), c.granted(7), nil); err != nil {
			t.Fatal(err)
		}
		st := s.await("a problem", func(s *contract.JobStatus) bool { return s.Problem != nil })
		if st.Problem.Reason != contract.Fenced || st.Problem.HeadGrant != 7 || !st.Problem.RetryAt.IsZero() {
			t.Errorf("got %+v", st.Problem)
		}
	})
}

func TestSupervisor_DoesNotStartEmptyWhereThereWasState(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		s := c.supervise(c.options)
		st := s.await("a problem", func(s *contract.JobStatus) bool { return s.Problem != nil })
		if st.Problem.Reason != contract.RestoreNotFound || st.Problem.RetryAt.IsZero() {
			t.Errorf("got %+v", st.Problem)
		}
	})
}

func TestProblemOf_GraphThatCannotBeBuilt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		s := c.supervise(func() Options {
			o := c.newJob()
			o.Build = func(contract.JobConfig) (*graph.Graph, error) { return nil, errors.New("line 3: no such column") }
			return o
		})
		st := s.await("a problem", func(s *contract.JobStatus) bool { return s.Problem != nil })
		if st.Problem.Reason != contract.InvalidJob {
			t.Errorf("got %+v", st.Problem)
		}
	})
}
