// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e_test

import (
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
	"github.com/weir-stream/weir/hack/e2e/stage"
)

// TestNewOperator_LeavesRunningJobsAlone replaces the operator by one of another build, which brings another image of the engine, while jobs run.
func TestNewOperator_LeavesRunningJobsAlone(t *testing.T) {
	if suite.cluster.Kind == stage.Current {
		t.Skip("the images of the cluster of the current context are brought by others: there is no second build of the operator")
	}
	s := newScenario(t, "newer")
	s.create(s.small("calm"))
	s.await("calm", "a running job", running(1))
	job := s.start(s.ledger("ledger"))
	next := stage.Images()[0]
	next.Name, next.Tag = "weir-next", "weir:next"
	for i := range next.Binaries {
		next.Binaries[i].Flags = "-X main.edition=next"
	}
	if err := suite.cluster.Build(t.Context(), []stage.Image{next}); err != nil {
		t.Fatal(err)
	}
	if err := suite.cluster.Load(t.Context(), []stage.Image{next}); err != nil {
		t.Fatal(err)
	}

	before := s.atRest(job.Name)
	s.useOperator(next.Tag)
	const watched = 15 * time.Second
	time.Sleep(watched) // what is tested is that nothing happens
	if diff := cmp.Diff(before, s.atRest(job.Name)); diff != "" {
		t.Errorf("the new operator changed (-before +after):\n%s", diff)
	}
	old := s.progress(job)
	if old.Status.Grant != job.Status.Grant || old.Status.Job.Restarts != job.Status.Job.Restarts {
		t.Errorf("the new operator made grant %d of %d, and %d restarts of %d", old.Status.Grant, job.Status.Grant, old.Status.Job.Restarts, job.Status.Job.Restarts)
	}

	job = s.rescale(job.Name, 3)
	s.wantUpgraded(old, job)
	if image := s.pod(job, worker).Spec.Containers[0].Image; image != next.Tag {
		t.Errorf("the next version runs %s, want the image of the new operator, %s", image, next.Tag)
	}
	s.progress(job)
	s.finish(job.Name)
}

// atRest are the resource versions of all that belongs to jobs, except of the StreamJob that goes on taking checkpoints, which its status shows.
func (s *scenario) atRest(except string) map[string]string {
	s.Helper()
	versions := s.versions()
	maps.DeleteFunc(versions, func(name, _ string) bool {
		return strings.HasPrefix(name, fmt.Sprintf("%T ", &streamv1.StreamJob{})) && strings.HasSuffix(name, "/"+except)
	})
	return versions
}

// useOperator has the operator, and jobs that are deployed from then on, run on an image, and waits until it leads. The one that was there comes back when the test ends.
func (s *scenario) useOperator(image string) {
	s.Helper()
	s.Cleanup(func() {
		ctx, cancel := s.late()
		defer cancel()
		if err := suite.cluster.InstallOperator(ctx); err != nil {
			s.Errorf("installing the operator again: %v", err)
		}
	})
	was := s.leader()
	d := &appsv1.Deployment{}
	if err := suite.client.Get(s.Context(), types.NamespacedName{Namespace: stage.OperatorNamespace, Name: stage.OperatorDeployment}, d); err != nil {
		s.Fatal(err)
	}
	change := client.MergeFrom(d.DeepCopy())
	c := &d.Spec.Template.Spec.Containers[0]
	for i := range c.Env {
		if c.Env[i].Value == c.Image {
			c.Env[i].Value = image
		}
	}
	c.Image = image
	if err := suite.client.Patch(s.Context(), d, change); err != nil {
		s.Fatalf("giving the operator another image: %v", err)
	}
	s.eventually("the operator of "+image+" to lead", func() string {
		leader := s.leader()
		for _, pod := range s.operatorPods() {
			if pod.Name == leader && pod.Spec.Containers[0].Image == image && leader != was {
				return ""
			}
		}
		return fmt.Sprintf("the leader is %q", leader)
	})
}
