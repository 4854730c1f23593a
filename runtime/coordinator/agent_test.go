// SPDX-License-Identifier: Apache-2.0

package coordinator

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/weir-stream/weir/runtime/contract"
	"github.com/weir-stream/weir/runtime/graph"
	"github.com/weir-stream/weir/runtime/snapshot"
	"github.com/weir-stream/weir/runtime/snapshot/assign"
	"github.com/weir-stream/weir/runtime/storage"
)

// stopped runs a job under grant 1 until it has a checkpoint, and stops it with a savepoint.
func (c *cluster) stopped() {
	c.t.Helper()
	r := c.start(c.options())
	r.worker("w1")
	r.await("a checkpoint", hasCheckpoint)
	r.stop("stop-1")
	if _, err := r.wait(); err != nil {
		c.t.Fatal(err)
	}
}

func (c *cluster) granted(grant int64) Options {
	o := c.options()
	o.Grant = grant
	return o
}

func TestCheck_TellsWhetherTheJobCouldStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		o := c.options()
		o.Job.NewJobID = o.Job.JobID
		if r, err := Check(t.Context(), o); err != nil || !r.OK || r.Newest != nil {
			t.Fatalf("without state: %+v, %v", r, err)
		}
		if _, err := Check(t.Context(), c.options()); err == nil || ProblemOf(err).Reason != contract.RestoreNotFound {
			t.Errorf("a job whose state is gone: %v", err)
		}
		c.stopped()
		r, err := Check(t.Context(), c.options())
		if err != nil || !r.OK || r.Newest == nil || r.Newest.Kind != "Savepoint" || !strings.HasPrefix(r.Newest.Path, "/test/savepoints/") {
			t.Fatalf("with state: %+v, %v", r, err)
		}
		o = c.options()
		o.Build = func(cfg contract.JobConfig) (*graph.Graph, error) {
			g, err := buildTwo(cfg)
			g.Nodes[0].Name, g.Nodes[1].Inputs[0].From = "other", "other"
			return g, err
		}
		if _, err := Check(t.Context(), o); !isIncompatible(err) {
			t.Errorf("a graph that lacks an operator: %v", err)
		}
		o.Build = func(contract.JobConfig) (*graph.Graph, error) { return nil, errors.New("no graph") }
		if _, err := Check(t.Context(), o); err == nil || !strings.Contains(err.Error(), "no graph") {
			t.Errorf("a graph that can't be built: %v", err)
		}
	})
}

func isIncompatible(err error) bool {
	_, ok := errors.AsType[*assign.IncompatibleError](err)
	return ok
}

func TestFence_ShutsOutOlderCoordinatorsAndReadsTheOutcome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		if r, err := Fence(t.Context(), c.granted(2), nil); err != nil || !r.OK || len(r.Warnings) != 1 {
			t.Errorf("without state: %+v, %v", r, err)
		}
		old := c.start(c.options())
		old.worker("w1")
		checkpoint := old.await("a checkpoint", hasCheckpoint).LastCheckpoint
		for range 2 { // a repeat gives the same
			r, err := Fence(t.Context(), c.granted(2), []string{"stop-1"})
			if err != nil || !r.OK || r.HeadGrant != 2 || r.Newest == nil || r.Newest.ID < checkpoint.ID || len(r.Operations) != 0 {
				t.Fatalf("got %+v, %v", r, err)
			}
		}
		if _, err := old.wait(); !errors.Is(err, snapshot.ErrFenced) {
			t.Errorf("the old coordinator ended with %v", err)
		}
		if _, err := Fence(t.Context(), c.granted(1), nil); !errors.Is(err, snapshot.ErrFenced) {
			t.Errorf("a lower grant: %v", err)
		}
	})
}

func TestFence_FindsTheSavepointOfAStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		c.stopped()
		r, err := Fence(t.Context(), c.granted(2), []string{"stop-1", "stop-2"})
		if err != nil || len(r.Operations) != 1 || r.Operations[0].Phase != contract.OperationSucceeded || r.Operations[0].Path != r.Newest.Path {
			t.Fatalf("got %+v, %v", r, err)
		}
	})
}

func TestDispose_DeletesCheckpointsAndNoSavepoint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		c.stopped()
		r, err := Dispose(t.Context(), c.granted(2))
		if err != nil || !r.OK || r.Deleted == 0 || r.HeadFinal != "Canceled" {
			t.Fatalf("got %+v, %v", r, err)
		}
		var left []string
		if err := c.options().Store.List(t.Context(), "", func(o storage.Object) error {
			left = append(left, o.Key)
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		for _, key := range left {
			if strings.Contains(key, "/checkpoints/") {
				t.Errorf("%s is left", key)
			}
		}
		if !strings.Contains(strings.Join(left, " "), "savepoints/") {
			t.Errorf("the savepoint is gone: %v", left)
		}
		if r, err := Dispose(t.Context(), c.granted(3)); err != nil || !r.OK || r.Deleted != 0 {
			t.Errorf("again: %+v, %v", r, err)
		}
	})
}
