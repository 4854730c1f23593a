// SPDX-License-Identifier: Apache-2.0

package coordinator

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weir-stream/weir/runtime/contract"
	"github.com/weir-stream/weir/runtime/graph"
)

func TestCheckTransactions_RefusesATimeoutThatIsTooShort(t *testing.T) {
	t.Parallel()
	minute := contract.Duration(time.Minute)
	tests := map[string]struct {
		timeout time.Duration
		c       *contract.Checkpointing
		want    string
	}{
		"never expires":            {0, &contract.Checkpointing{Interval: minute}, ""},
		"twice the sum":            {6 * time.Minute, &contract.Checkpointing{Interval: minute, Timeout: 2 * minute}, ""},
		"less than twice the sum":  {6*time.Minute - 1, &contract.Checkpointing{Interval: minute, Timeout: 2 * minute}, "at least 6m0s"},
		"default timeout":          {20 * time.Minute, &contract.Checkpointing{Interval: minute}, "at least 22m0s"},
		"a long pause":             {9 * time.Minute, &contract.Checkpointing{Interval: minute, MinPause: 3 * minute, Timeout: 2 * minute}, "at least 10m0s"},
		"no interval":              {time.Hour, &contract.Checkpointing{Timeout: minute}, "checkpoints have no interval"},
		"a pause alone":            {time.Hour, &contract.Checkpointing{Timeout: minute, MinPause: minute}, "checkpoints have no interval"},
		"no interval, no expiry":   {0, &contract.Checkpointing{Timeout: minute}, ""},
		"without checkpoints":      {time.Second, nil, ""},
		"not a transactional sink": {time.Second, &contract.Checkpointing{Interval: minute, Mode: "other"}, ""},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			transactional := tc.c == nil || tc.c.Mode == ""
			n := &graph.Node{Name: "out", Transactional: transactional, TransactionTimeout: tc.timeout}
			err := checkTransactions(&graph.Plan{Vertices: []*graph.Vertex{{Nodes: []*graph.Node{n}}}}, tc.c)
			if tc.want == "" {
				if err != nil {
					t.Errorf("got %v", err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tc.want) || !strings.Contains(err.Error(), `operator "out"`) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
		})
	}
}

// A policy is taken over by a job that runs, so it is held against the same.
func TestPolicy_RefusesWhatTransactionsMayNotSurvive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		o := c.options()
		o.Job.Checkpointing.Timeout = contract.Duration(time.Minute)
		build := o.Build
		o.Build = func(cfg contract.JobConfig) (*graph.Graph, error) {
			g, err := build(cfg)
			if err == nil {
				out := g.Nodes[len(g.Nodes)-1]
				out.Transactional, out.TransactionTimeout = true, 10*time.Minute
			}
			return g, err
		}
		r := c.start(o)
		r.worker("w1")
		s := r.await("running", isRunning)
		if got := s.MaxOutage.D(); got != 10*time.Minute-time.Minute-time.Second {
			t.Errorf("an outage may last %s", got)
		}
		p := contract.Policy{Revision: "p1", Checkpointing: &contract.Checkpointing{
			Interval: contract.Duration(5 * time.Minute), Timeout: contract.Duration(time.Minute), RetentionCount: 1,
		}}
		var refused *contract.APIError
		if _, err := r.setPolicy(t.Context(), p); !errors.As(err, &refused) || refused.Status != http.StatusBadRequest || !strings.Contains(refused.Message, "at least 12m0s") {
			t.Errorf("got %v, want a bad request", err)
		}
		p.Checkpointing.Interval = contract.Duration(4 * time.Minute)
		if _, err := r.setPolicy(t.Context(), p); err != nil {
			t.Errorf("a policy that fits: %v", err)
		}
		r.cancel()
		_, _ = r.wait()
	})
}

func TestRun_RefusesTransactionsThatMayExpire(t *testing.T) {
	c := newCluster(t)
	o := c.options()
	build := o.Build
	o.Build = func(cfg contract.JobConfig) (*graph.Graph, error) {
		g, err := build(cfg)
		if err == nil {
			out := g.Nodes[len(g.Nodes)-1]
			out.Transactional, out.TransactionTimeout = true, time.Minute
		}
		return g, err
	}
	r := c.start(o)
	_, err := r.wait()
	if _, ok := errors.AsType[*InvalidJobError](err); !ok || !strings.Contains(err.Error(), "transactions expire after 1m0s") {
		t.Errorf("got %v", err)
	}
}
