// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
)

const (
	// manyJobs are started at once.
	manyJobs = 20
	// manyTimeout is how long it may take until all of them are ready: two pods each, on as little as two cores.
	manyTimeout = 4 * time.Minute
	// atRest is how long nothing may be written.
	atRest = 20 * time.Second
	// maxOperatorBytes is the most memory that the operator may use with so many jobs.
	maxOperatorBytes = 100e6
)

// TestManyJobs_BecomeReadyAndLeaveTheAPIServerAlone starts twenty jobs at once and watches what the operator writes when they run.
func TestManyJobs_BecomeReadyAndLeaveTheAPIServerAlone(t *testing.T) {
	newScenario(t, "many").runMany(manyJobs, manyTimeout, maxOperatorBytes)
}

// runMany starts jobs at once, waits until all are ready, and watches what the operator writes when they run.
func (s *scenario) runMany(jobs int, limit time.Duration, maxBytes float64) {
	s.Helper()
	others := s.otherJobs()
	begin := time.Now()
	for i := range jobs {
		s.create(s.small(fmt.Sprintf("job-%03d", i)))
	}
	for i := range jobs {
		s.awaitWithin(limit-time.Since(begin), fmt.Sprintf("job-%03d", i), "a running job", running(1))
	}
	s.Logf("%d jobs were ready after %.1f s", jobs, time.Since(begin).Seconds())

	m := s.operatorMetrics()
	s.settle()
	before, counted := s.versions(), m.read()
	time.Sleep(atRest) // what is tested is that nothing happens
	diff, after := cmp.Diff(before, s.versions()), m.read()
	if diff != "" {
		s.Errorf("objects changed at rest (-before +after):\n%s", diff)
	}
	for _, method := range []string{"PATCH", "POST", "DELETE"} {
		switch n := after.requests(method) - counted.requests(method); {
		case n != 0 && others != "":
			s.Logf("the operator sent %v %s requests; they may be for %s", n, method, others)
		case n != 0:
			s.Errorf("the operator sent %v %s requests at rest", n, method)
		}
	}
	s.Logf("requests of the operator in %v at rest: GET %v, PUT %v (leases)", atRest,
		after.requests("GET")-counted.requests("GET"), after.requests("PUT")-counted.requests("PUT"))
	passes, mean, slow := after.passes()
	s.Logf("%v passes of the operator, %.1f ms each on average, %.2f %% took more than a second", passes, mean*1e3, slow*100)
	s.Logf("memory of the operator with %d jobs: %.0f MB (%s)", jobs, after.memory()/1e6, after.memoryParts())
	if after.memory() > maxBytes {
		s.Errorf("the operator uses %.0f MB, want at most %.0f", after.memory()/1e6, maxBytes/1e6)
	}
	s.removeAll(limit)
}

// otherJobs waits until the jobs of other tests are gone, and names those of somebody else, for which the operator has work to do as well.
func (s *scenario) otherJobs() string {
	s.Helper()
	var names []string
	s.eventually("nothing left of other tests", func() string {
		list := &streamv1.StreamJobList{}
		if err := suite.client.List(s.Context(), list); err != nil {
			return err.Error()
		}
		names = nil
		for i := range list.Items {
			key := client.ObjectKeyFromObject(&list.Items[i]).String()
			if strings.HasPrefix(key, namespacePrefix) {
				return key + " is still there"
			}
			names = append(names, key)
		}
		return ""
	})
	return strings.Join(names, ", ")
}

// removeAll deletes all jobs at once and waits until they are gone.
func (s *scenario) removeAll(limit time.Duration) {
	s.Helper()
	begin, missing := time.Now(), ""
	gone := s.until(limit, func() bool {
		// An API server that is busy may give up on the way: it is asked again.
		if err := suite.client.DeleteAllOf(s.Context(), &streamv1.StreamJob{}, client.InNamespace(s.ns)); err != nil {
			missing = err.Error()
			return false
		}
		left := &streamv1.StreamJobList{}
		if err := suite.client.List(s.Context(), left, client.InNamespace(s.ns)); err != nil {
			missing = err.Error()
			return false
		}
		missing = fmt.Sprintf("%d are left", len(left.Items))
		return len(left.Items) == 0
	})
	if !gone {
		s.Fatalf("waiting %v for all jobs to go: %s", limit, missing)
	}
	s.Logf("all jobs were gone %.1f s after they were deleted at once", time.Since(begin).Seconds())
}

// small returns a job that costs little and takes no checkpoint while it is watched: the first one comes at random between minPause and
// interval, which must therefore be the same.
func (s *scenario) small(name string) *streamv1.StreamJob {
	job := s.newJob(name)
	job.Spec.Parallelism = 1
	job.Spec.Checkpointing.Interval = seconds(3600)
	job.Spec.Checkpointing.MinPause = seconds(3600)
	job.Spec.Dataflow = &streamv1.Dataflow{Operators: []streamv1.Operator{
		{Name: "numbers", Generator: &streamv1.GeneratorSource{Keys: 1, RowsPerSecond: 1}},
		{Name: "out", Inputs: []streamv1.OperatorName{"numbers"}, Log: &streamv1.LogSink{}},
	}}
	return job
}

// settle waits until nothing has changed for some seconds.
func (s *scenario) settle() {
	s.Helper()
	const quiet = 5 * time.Second
	last, since := s.versions(), time.Now()
	s.eventually("quiet", func() string {
		if now := s.versions(); !cmp.Equal(last, now) {
			last, since = now, time.Now()
		}
		if time.Since(since) < quiet {
			return "something changed"
		}
		return ""
	})
}

// versions are the resource versions of all jobs and of what belongs to them. Of pods it is which one it is: their kubelet writes their status, and on a node with
// hundreds of them now and then a probe isn't answered in time.
func (s *scenario) versions() map[string]string {
	s.Helper()
	all := s.objects(nil)
	all = append(all, s.listAll(nil, &streamv1.StreamJobList{}, &corev1.PodList{}, &corev1.SecretList{})...)
	versions := map[string]string{}
	for _, o := range all {
		version := o.GetResourceVersion()
		if _, ok := o.(*corev1.Pod); ok {
			version = string(o.GetUID())
		}
		versions[fmt.Sprintf("%T %s", o, client.ObjectKeyFromObject(o))] = version
	}
	return versions
}
