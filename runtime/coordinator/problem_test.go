// SPDX-License-Identifier: Apache-2.0

package coordinator

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weir-stream/weir/runtime/contract"
	"github.com/weir-stream/weir/runtime/snapshot"
	"github.com/weir-stream/weir/runtime/snapshot/assign"
	"github.com/weir-stream/weir/runtime/storage"
	"github.com/weir-stream/weir/runtime/storage/memstore"
)

func TestProblemOf_NamesCauseAndRemedy(t *testing.T) {
	store := func(r storage.Reason) error {
		return &storage.Error{Op: "opening", Store: "s3://b", Err: errors.New("no"), Reason: r, Remedy: "do this"}
	}
	tests := map[string]struct {
		err  error
		want contract.Problem
	}{
		"bucket":      {store(storage.Missing), contract.Problem{Reason: contract.StorageNotFound, Message: "opening in s3://b: no", Remedy: "do this"}},
		"credentials": {store(storage.AccessDenied), contract.Problem{Reason: contract.StorageAccessDenied, Message: "opening in s3://b: no", Remedy: "do this"}},
		"conditions":  {store(storage.Unsuitable), contract.Problem{Reason: contract.StorageUnsuitable, Message: "opening in s3://b: no", Remedy: "do this"}},
		"endpoint":    {store(storage.Misconfigured), contract.Problem{Reason: contract.InvalidJob, Message: "opening in s3://b: no", Remedy: "do this"}},
		"within another error": {
			fmt.Errorf("opening the storage: %w", store(storage.Unclassified)),
			contract.Problem{Reason: contract.StorageUnavailable, Message: "opening the storage: opening in s3://b: no", Remedy: "do this"},
		},
		"missing snapshot": {
			&storage.Error{Op: "reading", Err: storage.ErrNotFound}, contract.Problem{Reason: contract.RestoreNotFound, Message: "reading: no such object"},
		},
		"damaged": {
			&snapshot.CorruptError{Object: "x", Detail: "cut off"},
			contract.Problem{
				Reason: contract.RestoreCorrupt, Message: (&snapshot.CorruptError{Object: "x", Detail: "cut off"}).Error(),
				Remedy: "weir snapshot verify says what is damaged",
			},
		},
		"other state": {
			&assign.IncompatibleError{Problems: []string{"no"}}, contract.Problem{Reason: contract.IncompatibleState, Message: "the job can't be deployed: no"},
		},
		"anything": {errors.New("boom"), contract.Problem{Reason: contract.Internal, Message: "boom"}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			if got := ProblemOf(tc.err); *got != tc.want {
				t.Errorf("got %+v\nwant %+v", *got, tc.want)
			}
		})
	}
}

// Storage that fails before the job is claimed is a problem; the claim is tried again by itself.
func TestRun_TellsThatItCannotClaim(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		o := c.options()
		until := time.Now().Add(3 * time.Second)
		o.Store = c.store.Client(memstore.Options{Faults: func(op, key string, _ int) memstore.Fault {
			if op == memstore.OpSwap && strings.HasSuffix(key, HeadName) && time.Now().Before(until) {
				return memstore.FailBefore(nil)
			}
			return memstore.None()
		}})
		r := c.start(o)
		r.worker("w1")
		s := r.await("a problem", func(s *contract.JobStatus) bool { return s.Problem != nil })
		if s.State != contract.JobStarting || s.Problem.Reason != contract.StorageUnavailable || !strings.Contains(s.Problem.Message, "did not arrive") || s.Problem.RetryAt.IsZero() {
			t.Errorf("%s with %+v", s.State, s.Problem)
		}
		if s = r.await("running", isRunning); s.Problem != nil {
			t.Errorf("the problem is still told: %+v", s.Problem)
		}
		r.cancel()
		_, _ = r.wait()
	})
}
