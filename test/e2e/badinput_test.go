// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
)

// conditionTimeout is how long a mistake may take to show in a condition.
const conditionTimeout = 30 * time.Second

// mistake is something wrong that a user may do to a job, and what the conditions must say then.
type mistake struct {
	change func(*scenario, *streamv1.StreamJobSpec)
	// reasons are those that Ready may give, and texts what its message must name.
	reasons []string
	texts   []string
}

// mistakes that can be made in a new job as well as in one that runs.
func mistakes() map[string]mistake {
	return map[string]mistake{
		"wrong credentials": {
			change: func(s *scenario, spec *streamv1.StreamJobSpec) {
				s.createOnce(s.secret("wrong", "weir-demo", "not-the-secret"))
				spec.Storage.S3.CredentialsSecretRef.Name = "wrong"
			},
			reasons: []string{streamv1.ReasonStorageAccessDenied}, texts: []string{"secret"},
		},
		"missing secret": {
			change: func(_ *scenario, spec *streamv1.StreamJobSpec) {
				spec.Storage.S3.CredentialsSecretRef.Name = "nowhere"
			},
			reasons: []string{streamv1.ReasonPodConfigInvalid}, texts: []string{"nowhere", "credentialsSecretRef"},
		},
		"unschedulable workers": {
			change: func(_ *scenario, spec *streamv1.StreamJobSpec) {
				spec.Workers = &streamv1.Workers{Resources: &streamv1.Resources{
					Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1000")},
				}}
			},
			reasons: []string{streamv1.ReasonUnschedulable}, texts: []string{"cpu", "resources"},
		},
		"expression that isn't one": {
			change: func(_ *scenario, spec *streamv1.StreamJobSpec) {
				spec.Dataflow.Operators[4].Map.Columns[1].Expression = "seq +"
			},
			reasons: []string{streamv1.ReasonInvalidSpec, streamv1.ReasonInvalidJob}, texts: []string{"rows", "seq +"},
		},
	}
}

// firstMistakes are those that only a new job can make.
func firstMistakes() map[string]mistake {
	return map[string]mistake{
		"unknown bucket": {
			change:  func(_ *scenario, spec *streamv1.StreamJobSpec) { spec.Storage.S3.Bucket = "nowhere" },
			reasons: []string{streamv1.ReasonStorageNotFound}, texts: []string{"nowhere", "create"},
		},
		"unreachable storage": {
			change: func(_ *scenario, spec *streamv1.StreamJobSpec) {
				spec.Storage.S3.Endpoint = "http://nowhere.invalid:9000"
			},
			reasons: []string{streamv1.ReasonStorageUnavailable}, texts: []string{"nowhere.invalid", "endpoint"},
		},
		"savepoint that doesn't exist": {
			change: func(s *scenario, spec *streamv1.StreamJobSpec) {
				spec.RestoreFrom = &streamv1.RestoreFrom{Path: streamv1.Location("s3://weir/" + s.ns + "/no-savepoint")}
			},
			reasons: []string{streamv1.ReasonRestoreNotFound}, texts: []string{"no-savepoint"},
		},
		"image that can't be pulled": {
			change: func(_ *scenario, spec *streamv1.StreamJobSpec) {
				spec.Dataflow, spec.Program = nil, &streamv1.Program{Image: "registry.invalid/nobody/nothing:v0"}
			},
			reasons: []string{streamv1.ReasonImagePullFailed}, texts: []string{"registry.invalid/nobody/nothing:v0"},
		},
		"program that panics at start": {
			change: func(_ *scenario, spec *streamv1.StreamJobSpec) {
				spec.Dataflow, spec.Program = nil, &streamv1.Program{Image: "weir-ledger:v1", Args: []string{"--keys", "0"}}
			},
			reasons: []string{streamv1.ReasonInvalidJob}, texts: []string{"panicked", "--keys 0"},
		},
		"image that isn't a program": {
			change: func(_ *scenario, spec *streamv1.StreamJobSpec) {
				spec.Dataflow, spec.Program = nil, &streamv1.Program{Image: "weir-tool:dev"}
			},
			reasons: []string{streamv1.ReasonPodCrashing, streamv1.ReasonCheckFailed}, texts: []string{"usage: tool"},
		},
	}
}

// createOnce creates an object unless it is there.
func (s *scenario) createOnce(o client.Object) {
	s.Helper()
	if err := suite.client.Create(s.Context(), o); err != nil && !apierrors.IsAlreadyExists(err) {
		s.Fatalf("creating %s: %v", o.GetName(), err)
	}
}

// refused wants a condition that gives one of the reasons and names all texts.
func refused(generation int64, reasons []string, texts ...string) func(*streamv1.StreamJob) string {
	return func(job *streamv1.StreamJob) string {
		if job.Status.ObservedGeneration < generation {
			return fmt.Sprintf("generation %d is observed", job.Status.ObservedGeneration)
		}
		c := apimeta.FindStatusCondition(job.Status.Conditions, streamv1.ConditionReady)
		if c == nil || c.Status != metav1.ConditionFalse || !slices.Contains(reasons, c.Reason) {
			return fmt.Sprintf("Ready is %+v, want it False with one of %v", c, reasons)
		}
		for _, text := range texts {
			if !strings.Contains(c.Message, text) {
				return fmt.Sprintf("its message doesn't name %q: %s", text, c.Message)
			}
		}
		return observed(job, generation)
	}
}

// TestMistake_AtFirstStart makes new jobs with a mistake each.
func TestMistake_AtFirstStart(t *testing.T) {
	t.Parallel()
	s := newScenario(t, "mistakes")
	all := firstMistakes()
	maps.Copy(all, mistakes())
	for name, m := range all {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := &scenario{T: t, ns: s.ns}
			t.Cleanup(func() {
				if t.Failed() {
					ctx, cancel := s.late()
					defer cancel()
					s.dump(ctx)
				}
			})
			job := s.ledger(strings.ToLower(strings.NewReplacer(" ", "-", "'", "").Replace(name)))
			m.change(s, &job.Spec)
			s.create(job)
			job = s.awaitWithin(conditionTimeout, job.Name, "the condition", refused(1, m.reasons, m.texts...))
			t.Log(message(job, streamv1.ConditionReady))
			if err := suite.client.Delete(t.Context(), job); err != nil { // it must be possible to get rid of it
				t.Fatal(err)
			}
			s.eventually("the deletion", func() string { return s.presence(job.Name) })
		})
	}
}

func (s *scenario) presence(name string) string {
	s.Helper()
	if job := s.job(name); job != nil {
		return describe(job)
	}
	return ""
}

// TestMistake_InARunningJob edits a running job into each mistake and back; it must not even notice.
func TestMistake_InARunningJob(t *testing.T) {
	t.Parallel()
	s := newScenario(t, "edits")
	job := s.start(s.ledger("ledger"))
	old, good := job.Status.Deployment, job.Spec
	pods := s.uids(job)
	for name, m := range mistakes() {
		generation := s.respec(job.Name, func(spec *streamv1.StreamJobSpec) { m.change(s, spec) })
		job = s.awaitWithin(conditionTimeout, job.Name, "the condition for "+name, refused(generation, m.reasons, m.texts...))
		t.Logf("%s: %s", name, message(job, streamv1.ConditionReady))
		s.progress(job)
		generation = s.respec(job.Name, func(spec *streamv1.StreamJobSpec) { *spec = *good.DeepCopy() })
		job = s.await(job.Name, "the way back from "+name, running(generation))
		if job.Status.Deployment.Grant != old.Grant || !slices.Equal(pods, s.uids(job)) {
			t.Errorf("%s: the running version was touched: %+v became %+v", name, old, job.Status.Deployment)
		}
	}
	if job.Status.Job.Restarts != 0 {
		t.Errorf("the job was restarted %d times", job.Status.Job.Restarts)
	}
	s.finish(job.Name)
}

// TestMistake_ImageOfARunningProgram gives a running program an image that can't be pulled, one that isn't a program, and arguments
// that make it panic.
func TestMistake_ImageOfARunningProgram(t *testing.T) {
	t.Parallel()
	s := newScenario(t, "images")
	job := s.start(s.program("ledger", "weir-ledger:v1"))
	good, old := job.Spec, job.Status.Deployment
	for name, m := range firstMistakes() {
		wrong := job.Spec.DeepCopy()
		if m.change(s, wrong); wrong.Dataflow != nil || wrong.Program.Image == good.Program.Image && len(wrong.Program.Args) == len(good.Program.Args) {
			continue // it isn't about programs
		}
		generation := s.respec(job.Name, func(spec *streamv1.StreamJobSpec) { spec.Program = wrong.Program })
		job = s.awaitWithin(conditionTimeout, job.Name, "the condition for "+name, refused(generation, m.reasons, m.texts...))
		t.Logf("%s: %s", name, message(job, streamv1.ConditionReady))
		s.progress(job)
		generation = s.respec(job.Name, func(spec *streamv1.StreamJobSpec) { *spec = *good.DeepCopy() })
		job = s.await(job.Name, "the way back from "+name, running(generation))
	}
	if job.Status.Deployment.Grant != old.Grant {
		t.Errorf("the running version was touched: %+v became %+v", old, job.Status.Deployment)
	}
	s.suspend(job.Name)
	s.judge(job.Name)
}

// respec changes the spec of a job and returns its new generation.
func (s *scenario) respec(name string, change func(*streamv1.StreamJobSpec)) int64 {
	s.Helper()
	for {
		job := s.job(name)
		change(&job.Spec)
		err := suite.client.Update(s.Context(), job)
		if err == nil {
			return job.Generation
		}
		if !apierrors.IsConflict(err) {
			s.Fatalf("changing job %s: %v", name, err)
		}
	}
}

// uids are those of the pods that run a job.
func (s *scenario) uids(job *streamv1.StreamJob) []types.UID {
	s.Helper()
	var uids []types.UID
	for _, component := range []string{coordinator, worker} {
		for _, p := range s.pods(job, component) {
			uids = append(uids, p.UID)
		}
	}
	return uids
}

// TestMistake_SnapshotThatDoesNotFit starts a job from a savepoint of another one.
func TestMistake_SnapshotThatDoesNotFit(t *testing.T) {
	t.Parallel()
	s := newScenario(t, "unfit")
	job := s.start(s.ledger("ledger"))
	savepoint := s.suspend(job.Name).Status.LastSavepoint.Path

	other := s.ledger("other")
	other.Spec.RestoreFrom = &streamv1.RestoreFrom{Path: streamv1.Location(savepoint)}
	other.Spec.Dataflow.Operators[2].Aggregate.Aggregates[0].Function = streamv1.LastFunction
	other.Spec.Dataflow.Operators[2].Aggregate.Aggregates[0].Expression = "seq"
	s.create(other)
	other = s.awaitWithin(conditionTimeout, other.Name, "the condition", refused(1, []string{streamv1.ReasonIncompatibleState, streamv1.ReasonJobFailed}, "totals", "keep the type"))
	t.Log(message(other, streamv1.ConditionReady))
}

// TestMistake_ScaleAboveMaxParallelism scales a job further than it can go: the API server refuses that.
func TestMistake_ScaleAboveMaxParallelism(t *testing.T) {
	t.Parallel()
	s := newScenario(t, "scale")
	job := s.ledger("ledger")
	job.Spec.State = streamv1.StateSuspended
	s.create(job)
	out, err := suite.cluster.Kubectl(t.Context(), "scale", "streamjob", job.Name, "--namespace", s.ns, "--replicas", "65")
	if err == nil || !strings.Contains(err.Error(), "parallelism must not be larger than maxParallelism") {
		t.Errorf("scaling above maxParallelism: %s %v", out, err)
	}
	if out, err := suite.cluster.Kubectl(t.Context(), "scale", "streamjob", job.Name, "--namespace", s.ns, "--replicas", "64"); err != nil {
		t.Errorf("scaling to maxParallelism: %s %v", out, err)
	}
}
