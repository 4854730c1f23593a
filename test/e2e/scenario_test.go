// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
	"github.com/weir-stream/weir/hack/e2e/stage"
)

const (
	// stepTimeout bounds every wait that isn't measured; a step takes a few seconds on an idle machine.
	stepTimeout = 90 * time.Second
	// pollInterval is between two looks.
	pollInterval = 150 * time.Millisecond
	// secretName is the secret with the credentials of the S3 server in every namespace.
	secretName = "s3"
	// namespacePrefix begins the names of the namespaces of all tests.
	namespacePrefix = "e2e-"
)

// scenario is a test with a namespace of its own, in which pods must pass the restricted pod security standard.
type scenario struct {
	*testing.T
	// ns is the namespace; it is also the prefix of everything in the bucket.
	ns string
}

// newScenario makes the namespace. It is deleted after the test.
func newScenario(t *testing.T, name string) *scenario {
	t.Helper()
	s := &scenario{T: t, ns: fmt.Sprintf("%s%s-%04x", namespacePrefix, name, rand.IntN(1<<16))}
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: s.ns, Labels: map[string]string{
		"pod-security.kubernetes.io/enforce": "restricted",
	}}}
	s.create(ns)
	t.Cleanup(func() { s.end(ns) })
	s.create(s.secret(secretName, stage.AccessKey, stage.SecretKey))
	return s
}

func (s *scenario) secret(name, access, secret string) *corev1.Secret {
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.ns, Name: name},
		StringData: map[string]string{"AWS_ACCESS_KEY_ID": access, "AWS_SECRET_ACCESS_KEY": secret},
	}
}

// late is a context for what is done when that of the test has ended.
func (s *scenario) late() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(s.Context()), stepTimeout)
}

// end shows what there is if the test failed, and removes the namespace with its jobs.
func (s *scenario) end(ns *corev1.Namespace) {
	ctx, cancel := s.late()
	defer cancel()
	if s.Failed() {
		s.dump(ctx)
	}
	if err := suite.client.DeleteAllOf(ctx, &streamv1.StreamJob{}, client.InNamespace(s.ns)); err != nil {
		s.Errorf("deleting the jobs: %v", err)
	}
	if err := suite.client.Delete(ctx, ns); client.IgnoreNotFound(err) != nil {
		s.Errorf("deleting the namespace: %v", err)
	}
}

func (s *scenario) create(o client.Object) {
	s.Helper()
	if err := suite.client.Create(s.Context(), o); err != nil {
		s.Fatalf("creating %T %s: %v", o, o.GetName(), err)
	}
}

// job reads a job; nil when there is none.
func (s *scenario) job(name string) *streamv1.StreamJob {
	s.Helper()
	job := &streamv1.StreamJob{}
	err := suite.client.Get(s.Context(), types.NamespacedName{Namespace: s.ns, Name: name}, job)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		s.Fatalf("reading job %s: %v", name, err)
	}
	return job
}

// patch changes a job as kubectl patch --type merge does, and returns its new generation.
func (s *scenario) patch(name, patch string) int64 {
	s.Helper()
	job := &streamv1.StreamJob{ObjectMeta: metav1.ObjectMeta{Namespace: s.ns, Name: name}}
	if err := suite.client.Patch(s.Context(), job, client.RawPatch(types.MergePatchType, []byte(patch))); err != nil {
		s.Fatalf("patching job %s with %s: %v", name, patch, err)
	}
	return job.Generation
}

// await waits until a job is as wanted. Wanted returns what is still missing, or nothing.
func (s *scenario) await(name, what string, wanted func(*streamv1.StreamJob) string) *streamv1.StreamJob {
	s.Helper()
	return s.awaitWithin(stepTimeout, name, what, wanted)
}

func (s *scenario) awaitWithin(limit time.Duration, name, what string, wanted func(*streamv1.StreamJob) string) *streamv1.StreamJob {
	s.Helper()
	var job *streamv1.StreamJob
	missing := ""
	ok := s.until(limit, func() bool {
		if job = s.job(name); job == nil {
			missing = "it doesn't exist"
			return false
		}
		missing = wanted(job)
		return missing == ""
	})
	if !ok {
		s.Fatalf("waiting %v for %s of job %s: %s\n%s", limit, what, name, missing, describe(job))
	}
	return job
}

// eventually waits until something holds; it returns what is missing, or nothing.
func (s *scenario) eventually(what string, holds func() string) {
	s.Helper()
	missing := ""
	if !s.until(stepTimeout, func() bool { missing = holds(); return missing == "" }) {
		s.Fatalf("waiting for %s: %s", what, missing)
	}
}

// until looks again and again, at most for the given time.
func (s *scenario) until(limit time.Duration, holds func() bool) bool {
	timeout := time.NewTimer(limit)
	defer timeout.Stop()
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		if holds() {
			return true
		}
		select {
		case <-tick.C:
		case <-timeout.C:
			return holds()
		case <-s.Context().Done():
			return false
		}
	}
}

// while checks that something keeps holding for some time.
func (s *scenario) while(d time.Duration, what string, holds func() string) {
	s.Helper()
	if s.until(d, func() bool {
		if broken := holds(); broken != "" {
			s.Errorf("%s: %s", what, broken)
			return true
		}
		return false
	}) {
		s.FailNow()
	}
}

// isReady wants the spec of a generation to be in force and the job to run.
func isReady(generation int64) func(*streamv1.StreamJob) string {
	return func(job *streamv1.StreamJob) string {
		if job.Status.ObservedGeneration < generation {
			return fmt.Sprintf("generation %d is observed, not %d", job.Status.ObservedGeneration, generation)
		}
		return first(
			is(job, streamv1.ConditionReady, metav1.ConditionTrue),
			is(job, streamv1.ConditionReconciling, metav1.ConditionFalse),
			is(job, streamv1.ConditionStalled, metav1.ConditionFalse),
			observed(job, generation),
		)
	}
}

// observed wants every condition to speak of a generation.
func observed(job *streamv1.StreamJob, generation int64) string {
	for _, c := range job.Status.Conditions {
		if c.ObservedGeneration < generation {
			return fmt.Sprintf("condition %s speaks of generation %d", c.Type, c.ObservedGeneration)
		}
	}
	return ""
}

// is wants a condition to have a status and, if any are given, one of the reasons.
func is(job *streamv1.StreamJob, condition string, status metav1.ConditionStatus, reasons ...string) string {
	c := apimeta.FindStatusCondition(job.Status.Conditions, condition)
	switch {
	case c == nil:
		return fmt.Sprintf("there is no condition %s", condition)
	case c.Status != status || len(reasons) > 0 && !slices.Contains(reasons, c.Reason):
		return fmt.Sprintf("%s is %s (%s: %s), not %s %v", condition, c.Status, c.Reason, c.Message, status, reasons)
	}
	return ""
}

// first returns the first text that isn't empty.
func first(texts ...string) string {
	for _, t := range texts {
		if t != "" {
			return t
		}
	}
	return ""
}

// message of a condition, or nothing.
func message(job *streamv1.StreamJob, condition string) string {
	if c := apimeta.FindStatusCondition(job.Status.Conditions, condition); c != nil {
		return c.Message
	}
	return ""
}

// checkpointed wants a newer completed checkpoint than that with the given id.
func checkpointed(after int64) func(*streamv1.StreamJob) string {
	return func(job *streamv1.StreamJob) string {
		if c := job.Status.LastCheckpoint; c == nil || c.ID <= after {
			return fmt.Sprintf("no checkpoint after %d is complete", after)
		}
		return ""
	}
}

// describe shows the status of a job in short.
func describe(job *streamv1.StreamJob) string {
	if job == nil {
		return "no job"
	}
	b := &strings.Builder{}
	st := &job.Status
	fmt.Fprintf(b, "generation %d, observed %d, phase %s, grant %d, deployment %+v\n", job.Generation, st.ObservedGeneration, st.Phase, st.Grant, st.Deployment)
	for _, c := range st.Conditions {
		fmt.Fprintf(b, "  %s=%s %s: %s\n", c.Type, c.Status, c.Reason, c.Message)
	}
	if st.Job != nil {
		fmt.Fprintf(b, "  job %s epoch %s state %s restarts %d failure %v\n", st.Job.ID, st.Job.Epoch, st.Job.State, st.Job.Restarts, st.Job.LastFailure)
	}
	fmt.Fprintf(b, "  operation %+v\n  checkpoint %+v\n  savepoint %+v\n  restore %+v\n  upgrade %+v\n",
		st.Operation, st.LastCheckpoint, st.LastSavepoint, st.Restore, st.LastUpgrade)
	return b.String()
}
