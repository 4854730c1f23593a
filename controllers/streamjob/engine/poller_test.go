// SPDX-License-Identifier: Apache-2.0

package engine_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"k8s.io/apimachinery/pkg/types"

	"github.com/weir-stream/weir/controllers/streamjob/engine"
	"github.com/weir-stream/weir/runtime/contract"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// coordinator plays the control API of one.
type coordinator struct {
	mu          sync.Mutex
	status      contract.JobStatus
	checkpoints contract.CheckpointsReport
	err         error
	hang        bool
	polls       int
	histories   int
	closed      bool
}

func (c *coordinator) set(change func(*coordinator)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	change(c)
}

// asked returns how often the job was asked for since the last call.
func (c *coordinator) asked() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.polls
	c.polls = 0
	return n
}

func (c *coordinator) Job(ctx context.Context) (*contract.JobStatus, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.polls++
	if c.hang {
		c.mu.Unlock()
		<-ctx.Done()
		c.mu.Lock()
		return nil, ctx.Err()
	}
	return new(c.status), c.err
}

func (c *coordinator) Checkpoints(context.Context) (*contract.CheckpointsReport, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.histories++
	return new(c.checkpoints), c.err
}

func (c *coordinator) Stop(ctx context.Context, _ contract.StopRequest) (*contract.Operation, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.hang {
		c.mu.Unlock()
		<-ctx.Done()
		c.mu.Lock()
		return nil, ctx.Err()
	}
	return &contract.Operation{}, c.err
}

func (c *coordinator) Savepoint(context.Context, contract.SavepointRequest) (*contract.Operation, error) {
	return &contract.Operation{}, nil
}

func (c *coordinator) Checkpoint(context.Context, contract.CheckpointRequest) (*contract.Operation, error) {
	return &contract.Operation{}, nil
}

func (c *coordinator) Cancel(context.Context, contract.CancelRequest) (*contract.Operation, error) {
	return &contract.Operation{}, nil
}

func (c *coordinator) SetPolicy(_ context.Context, p contract.Policy) (*contract.Policy, error) {
	return &p, nil
}

func (c *coordinator) Activate(_ context.Context, r contract.ActivateRequest) (*contract.Activation, error) {
	return &contract.Activation{Grant: r.Grant}, nil
}

func (c *coordinator) Close() { c.set(func(c *coordinator) { c.closed = true }) }

var jobKey = types.NamespacedName{Namespace: "ns", Name: "words"}

// bench is a poller that runs in virtual time, with one coordinator for each address.
type bench struct {
	*engine.Poller
	mu     sync.Mutex
	byAddr map[string]*coordinator
	told   int
}

// play runs a test in virtual time with a poller that runs.
func play(t *testing.T, test func(t *testing.T, b *bench)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := &bench{byAddr: map[string]*coordinator{}}
		b.Poller = &engine.Poller{Dial: func(_ types.NamespacedName, target engine.Target) (engine.API, error) {
			return b.at(target.Addr), nil
		}}
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() {
			if err := b.Start(ctx); err != nil {
				t.Error(err)
			}
		})
		running.Go(func() {
			for {
				select {
				case <-ctx.Done():
					return
				case change := <-b.Changes():
					if change.Object != jobKey {
						t.Errorf("a change of %s was told", change.Object)
					}
					b.mu.Lock()
					b.told++
					b.mu.Unlock()
				}
			}
		})
		test(t, b)
		cancel()
		running.Wait()
	})
}

func (b *bench) at(addr string) *coordinator {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.byAddr[addr] == nil {
		b.byAddr[addr] = &coordinator{status: contract.JobStatus{State: contract.JobRunning}}
	}
	return b.byAddr[addr]
}

// changes returns how many changes were told since the last call.
func (b *bench) changes() int {
	synctest.Wait()
	b.mu.Lock()
	defer b.mu.Unlock()
	n := b.told
	b.told = 0
	return n
}

func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func TestPoller_AsksARunningJobEveryTwoSeconds(t *testing.T) {
	play(t, func(t *testing.T, b *bench) {
		b.Watch(jobKey, engine.Target{Grant: 3, Addr: "a:1"})
		if r := b.Report(jobKey); r != nil {
			t.Errorf("before anybody was asked the report is %+v", r)
		}
		pass(time.Millisecond)
		r := b.Report(jobKey)
		if r == nil || r.Grant != 3 || r.Status == nil || r.Status.State != contract.JobRunning || r.Checkpoints == nil || !r.UnreachableSince.IsZero() {
			t.Fatalf("the report is %+v", r)
		}
		if n := b.changes(); n != 1 {
			t.Errorf("%d changes were told of the first answer, want 1", n)
		}
		b.at("a:1").asked()
		pass(20 * time.Second)
		if n := b.at("a:1").asked(); n != 10 {
			t.Errorf("a running job was asked %d times in 20 s, want 10", n)
		}
		if n := b.changes(); n != 0 {
			t.Errorf("%d changes were told of a job at rest", n)
		}
		if n := b.at("a:1").histories; n > 5 {
			t.Errorf("the history was asked for %d times in 20 s, want at most every 5 s", n)
		}
	})
}

func TestPoller_AsksAJobInMotionOften(t *testing.T) {
	tests := map[string]contract.JobStatus{
		"deploying": {State: contract.JobDeploying},
		"operation": {State: contract.JobRunning, Operations: []contract.Operation{{ID: "a", Phase: contract.OperationRunning}}},
	}
	for name, status := range tests {
		t.Run(name, func(t *testing.T) {
			play(t, func(t *testing.T, b *bench) {
				b.at("a:1").status = status
				b.Watch(jobKey, engine.Target{Addr: "a:1"})
				pass(5*time.Second + time.Millisecond)
				if n := b.at("a:1").asked(); n != 21 {
					t.Errorf("asked %d times in 5 s, want 21", n)
				}
			})
		})
	}
}

func TestPoller_CalmsDownWhenNothingMoves(t *testing.T) {
	play(t, func(t *testing.T, b *bench) {
		b.at("a:1").status = contract.JobStatus{State: contract.JobStarting, Problem: &contract.Problem{Reason: contract.StorageNotFound}}
		b.Watch(jobKey, engine.Target{Addr: "a:1"})
		pass(2 * time.Minute)
		b.at("a:1").asked()
		pass(20 * time.Second)
		if n := b.at("a:1").asked(); n != 10 {
			t.Errorf("a job that is stuck was asked %d times in 20 s, want 10", n)
		}
	})
}

func TestPoller_RemembersSinceWhenACoordinatorDoesNotAnswer(t *testing.T) {
	play(t, func(t *testing.T, b *bench) {
		b.Watch(jobKey, engine.Target{Addr: "a:1"})
		pass(10*time.Second + time.Millisecond)
		b.changes()
		b.at("a:1").set(func(c *coordinator) {
			c.err = &net.OpError{Op: "read", Net: "tcp", Source: &net.TCPAddr{Port: 40001}, Err: errors.New("connection reset")}
		})
		pass(2 * time.Second)
		since := b.Report(jobKey).UnreachableSince
		if since.IsZero() || b.changes() != 1 {
			t.Fatalf("it does not answer since %v", since)
		}
		b.at("a:1").set(func(c *coordinator) {
			c.err = &net.OpError{Op: "read", Net: "tcp", Source: &net.TCPAddr{Port: 40002}, Err: errors.New("connection reset")}
		})
		pass(10 * time.Second)
		r := b.Report(jobKey)
		if !r.UnreachableSince.Equal(since) || r.Error != "a:1: read: connection reset" || r.Status == nil {
			t.Errorf("the report is %+v, want it unreachable since %v", r, since)
		}
		if n := b.changes(); n != 0 {
			t.Errorf("%d changes were told while nothing changed", n)
		}
		b.at("a:1").set(func(c *coordinator) { c.err = nil })
		pass(time.Second)
		if r := b.Report(jobKey); !r.UnreachableSince.IsZero() || r.Error != "" || b.changes() != 1 {
			t.Errorf("it answers again, and the report is %+v", r)
		}
	})
}

func TestPoller_GivesASilentCoordinatorUp(t *testing.T) {
	play(t, func(t *testing.T, b *bench) {
		b.at("a:1").hang = true
		b.Watch(jobKey, engine.Target{Addr: "a:1"})
		pass(2*time.Second + time.Millisecond)
		if r := b.Report(jobKey); r.Error != "a:1: no answer within 2s" {
			t.Errorf("the report is %+v", r)
		}
		commands, err := b.Client(jobKey)
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		if _, err := commands.Stop(t.Context(), contract.StopRequest{}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a command ended with %v", err)
		}
		if took := time.Since(start); took != 3*time.Second {
			t.Errorf("a command was given up after %s, want 3s", took)
		}
	})
}

func TestPoller_TellsOfEverythingThatMatters(t *testing.T) {
	tests := map[string]func(*coordinator){
		"state":     func(c *coordinator) { c.status.State = contract.JobRestarting },
		"attempt":   func(c *coordinator) { c.status.Attempt = "1-1-2" },
		"restarts":  func(c *coordinator) { c.status.Restarts++ },
		"failure":   func(c *coordinator) { c.status.LastFailure = &contract.Failure{Message: "x"} },
		"problem":   func(c *coordinator) { c.status.Problem = &contract.Problem{Reason: contract.Fenced} },
		"policy":    func(c *coordinator) { c.status.PolicyRevision = "p" },
		"slots":     func(c *coordinator) { c.status.SlotsOffered = 3 },
		"workers":   func(c *coordinator) { c.status.Workers = []contract.WorkerReport{{Name: "w"}} },
		"warnings":  func(c *coordinator) { c.status.Warnings = []string{"w"} },
		"savepoint": func(c *coordinator) { c.status.LastSavepoint = &contract.SnapshotInfo{ID: 7} },
		"operation": func(c *coordinator) {
			c.status.Operations = []contract.Operation{{ID: "a", Phase: contract.OperationFailed}}
		},
		"failed checkpoint": func(c *coordinator) {
			c.checkpoints.Recent = []contract.CheckpointReport{{State: "Failed", Error: "x"}}
		},
		"first checkpoint": func(c *coordinator) { c.status.LastCheckpoint = &contract.SnapshotInfo{ID: 1} },
	}
	for name, change := range tests {
		t.Run(name, func(t *testing.T) {
			play(t, func(t *testing.T, b *bench) {
				b.Watch(jobKey, engine.Target{Addr: "a:1"})
				pass(time.Second)
				b.changes()
				b.at("a:1").set(change)
				pass(6 * time.Second)
				if n := b.changes(); n != 1 {
					t.Errorf("%d changes were told, want 1", n)
				}
			})
		})
	}
}

func TestPoller_TellsOfCheckpointsNowAndThen(t *testing.T) {
	play(t, func(t *testing.T, b *bench) {
		b.Watch(jobKey, engine.Target{Addr: "a:1"})
		pass(time.Millisecond)
		b.changes()
		for minute, most := range []int{3, 12, 3, 2} {
			if minute == 1 { // the first look was no change, this is one
				b.at("a:1").set(func(c *coordinator) { c.status.LastSavepoint = &contract.SnapshotInfo{ID: 7} })
			}
			for id := range 30 { // a checkpoint each 2 s, and records all the time
				b.at("a:1").set(func(c *coordinator) {
					c.status.LastCheckpoint = &contract.SnapshotInfo{ID: int64(30*minute + id + 1)}
					c.status.RecordsIn += 1000
					c.status.MeasuredAt = time.Now()
				})
				pass(2 * time.Second)
			}
			if n := b.changes(); n > most || n < most-2 {
				t.Errorf("%d changes were told of checkpoints in minute %d, want %d at most", n, minute, most)
			}
		}
	})
}

// The history that is told with a checkpoint knows of it, whenever it was asked for before.
func TestPoller_TellsOfACheckpointWithItsHistory(t *testing.T) {
	play(t, func(t *testing.T, b *bench) {
		b.Watch(jobKey, engine.Target{Addr: "a:1"})
		pass(time.Millisecond)
		b.changes()
		b.at("a:1").set(func(c *coordinator) {
			c.status.LastCheckpoint = &contract.SnapshotInfo{ID: 7}
			c.checkpoints.Completed = 1
		})
		pass(2 * time.Second)
		r := b.Report(jobKey)
		if b.changes() != 1 || r.Status.LastCheckpoint == nil || r.Checkpoints.Completed != 1 {
			t.Errorf("told of %+v with the history %+v", r.Status.LastCheckpoint, r.Checkpoints)
		}
	})
}

func TestPoller_AsksRightAfterACommand(t *testing.T) {
	play(t, func(t *testing.T, b *bench) {
		b.Watch(jobKey, engine.Target{Addr: "a:1"})
		pass(time.Millisecond)
		b.at("a:1").asked()
		commands, err := b.Client(jobKey)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := commands.Stop(t.Context(), contract.StopRequest{OperationID: "a"}); err != nil {
			t.Fatal(err)
		}
		pass(time.Millisecond)
		if n := b.at("a:1").asked(); n != 1 {
			t.Errorf("asked %d times right after a command, want once", n)
		}
		pass(time.Second)
		if n := b.at("a:1").asked(); n != 10 {
			t.Errorf("asked %d times in the second after a command, want 10", n)
		}
		pass(time.Minute)
		b.at("a:1").asked()
		pass(10 * time.Second)
		if n := b.at("a:1").asked(); n != 5 {
			t.Errorf("asked %d times in 10 s long after a command, want 5", n)
		}
	})
}

func TestPoller_AnotherPodOfTheSameGrantHasNotAnsweredYet(t *testing.T) {
	play(t, func(t *testing.T, b *bench) {
		b.Watch(jobKey, engine.Target{Grant: 1, Addr: "a:1"})
		pass(time.Second)
		b.at("b:1").err = errors.New("refused")
		b.Watch(jobKey, engine.Target{Grant: 1, Addr: ""})
		if r := b.Report(jobKey); r.Status == nil || r.UnreachableSince.IsZero() {
			t.Errorf("without a pod the report is %+v", r)
		}
		since := b.Report(jobKey).UnreachableSince
		pass(time.Second)
		b.Watch(jobKey, engine.Target{Grant: 1, Addr: "b:1"})
		pass(time.Second)
		if r := b.Report(jobKey); r.Status == nil || !r.UnreachableSince.Equal(since) {
			t.Errorf("the new pod refuses, and the report is %+v, want it unreachable since %v", r, since)
		}
		if !b.at("a:1").closed {
			t.Error("the connection to the first pod was not closed")
		}
	})
}

func TestPoller_ANewCertificateChangesNothing(t *testing.T) {
	play(t, func(t *testing.T, b *bench) {
		b.Watch(jobKey, engine.Target{Grant: 1, Addr: "a:1", TLS: &tls.Config{MinVersion: tls.VersionTLS13}})
		pass(time.Second)
		b.Watch(jobKey, engine.Target{Grant: 1, Addr: "a:1", TLS: &tls.Config{MinVersion: tls.VersionTLS13}})
		if r := b.Report(jobKey); r.Status == nil || !r.UnreachableSince.IsZero() {
			t.Errorf("the report is %+v", r)
		}
	})
}

func TestPoller_AnotherGrantStartsWithNothing(t *testing.T) {
	play(t, func(t *testing.T, b *bench) {
		b.Watch(jobKey, engine.Target{Grant: 1, Addr: "a:1"})
		pass(time.Second)
		b.Watch(jobKey, engine.Target{Grant: 2})
		if r := b.Report(jobKey); r.Grant != 2 || r.Status != nil || r.UnreachableSince.IsZero() {
			t.Errorf("the report is %+v", r)
		}
		if _, err := b.Client(jobKey); !errors.Is(err, engine.ErrNoCoordinator) {
			t.Errorf("a job without address is commanded: %v", err)
		}
	})
}

func TestPoller_ForgetsAJob(t *testing.T) {
	play(t, func(t *testing.T, b *bench) {
		b.Watch(jobKey, engine.Target{Grant: 1, Addr: "a:1"})
		pass(time.Second)
		b.Forget(jobKey)
		b.Forget(jobKey)
		synctest.Wait()
		b.at("a:1").asked()
		pass(time.Minute)
		if n := b.at("a:1").asked(); n != 0 || b.Report(jobKey) != nil || !b.at("a:1").closed {
			t.Errorf("a forgotten job was asked %d times", n)
		}
		if _, err := b.Client(jobKey); !errors.Is(err, engine.ErrNoCoordinator) {
			t.Errorf("a forgotten job is commanded: %v", err)
		}
	})
}

func TestPoller_SpeaksTLSWithARealServer(t *testing.T) {
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == contract.PathJob {
			_ = json.NewEncoder(w).Encode(contract.JobStatus{JobID: "j1", State: contract.JobRunning})
			return
		}
		_ = json.NewEncoder(w).Encode(contract.CheckpointsReport{Completed: 5})
	}))
	defer s.Close()
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate())
	p := &engine.Poller{}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { _ = p.Start(ctx) })
	defer running.Wait()
	defer cancel()
	p.Watch(jobKey, engine.Target{
		Grant: 1, Addr: strings.TrimPrefix(s.URL, "https://"),
		TLS: &tls.Config{RootCAs: roots, ServerName: "example.com", MinVersion: tls.VersionTLS12},
	})
	if change := <-p.Changes(); change.Object != jobKey {
		t.Errorf("a change of %s was told", change.Object)
	}
	if r := p.Report(jobKey); r.Status == nil || r.Status.JobID != "j1" || r.Checkpoints == nil || r.Checkpoints.Completed != 5 {
		t.Errorf("the report is %+v", r)
	}
}
