// SPDX-License-Identifier: Apache-2.0

package streamjob

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
	"github.com/weir-stream/weir/controllers/operatorconfig"
	"github.com/weir-stream/weir/controllers/streamjob/plan"
	"github.com/weir-stream/weir/controllers/streamjob/resources"
)

// defaults plays the configuration of the operator.
type defaults struct{ operatorconfig.Defaults }

func (d *defaults) For(string) operatorconfig.Defaults                { return d.Defaults }
func (d *defaults) Changes() <-chan event.TypedGenericEvent[struct{}] { return nil }

func bucket(name string) *streamv1.Storage {
	return &streamv1.Storage{S3: &streamv1.S3Storage{Bucket: name}}
}

func interval(d time.Duration) *operatorconfig.Checkpointing {
	return &operatorconfig.Checkpointing{Interval: metav1.Duration{Duration: d}}
}

// observes makes every pass store and apply the deployed grant, and hands on what the planner would have seen.
func (w *world) observes(grant int64, actions ...plan.Action) *plan.Observation {
	var seen plan.Observation
	w.next = func(o plan.Observation, _ time.Time) plan.Plan {
		seen = o
		seen.Job = o.Job.DeepCopy()
		status := *o.Job.Status.DeepCopy()
		status.Grant = grant
		status.Deployment = &streamv1.DeploymentReport{Grant: grant, Revision: o.Revision}
		return plan.Plan{Actions: actions, Status: status}
	}
	return &seen
}

func (w *world) storedRevision(t *testing.T, name string) *resources.Revision {
	t.Helper()
	config := &corev1.ConfigMap{}
	if err := w.Get(t.Context(), client.ObjectKey{Namespace: "ns", Name: name}, config); err != nil {
		t.Fatal(err)
	}
	r, err := resources.ReadRevision(config)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// edit changes the spec as a user would.
func (w *world) edit(t *testing.T, change func(*streamv1.StreamJobSpec)) {
	t.Helper()
	job := w.job(t)
	change(&job.Spec)
	job.Generation++
	if err := w.Update(t.Context(), job); err != nil {
		t.Fatal(err)
	}
}

func TestDefaults_AreStoredWithTheVersion(t *testing.T) {
	w := newWorld(t, words())
	d := &defaults{operatorconfig.Defaults{Image: "team:v7", Storage: bucket("team"), Checkpointing: interval(30 * time.Second), NetworkPolicy: streamv1.NetworkPolicyIsolated}}
	w.Defaults = d
	w.observes(1, plan.Store{Grant: 1}, plan.Apply{Grant: 1})
	w.pass(t)
	w.pass(t)
	r := w.storedRevision(t, "words-1")
	if r.Image != "team:v7" || r.Spec.Storage.S3.Bucket != "team" || r.Spec.Checkpointing.Interval.Duration != 30*time.Second {
		t.Errorf("stored %+v", r)
	}
	job := w.job(t)
	if job.Spec.Storage != nil || job.Spec.Checkpointing != nil {
		t.Error("the spec of the user was edited")
	}
	want := &streamv1.EffectiveReport{
		Image: "team:v7", Storage: "s3://team", Savepoints: "s3://team/savepoints", StateBackend: "Memory", CheckpointInterval: "30s",
		CheckpointTimeout: "10m0s", RetainedCheckpoints: 1, Restart: "exponentialDelay",
		FromOperator: []string{"checkpointing.interval", "networkPolicy", "storage"},
	}
	if diff := cmp.Diff(want, job.Status.Effective); diff != "" {
		t.Errorf("status.effective (-want +got):\n%s", diff)
	}
	if !slices.Contains(w.asked(), "apply NetworkPolicy words-isolated") {
		t.Error("there is no network policy")
	}
	w.pass(t)
	if got := w.asked(); len(got) > 0 {
		t.Errorf("at rest it asked for %v", got)
	}
}

func TestDefaults_AChangeReachesNoRunningJob(t *testing.T) {
	w := newWorld(t, words())
	d := &defaults{operatorconfig.Defaults{Image: "team:v7", Storage: bucket("team"), Checkpointing: interval(30 * time.Second)}}
	w.Defaults = d
	w.observes(1, plan.Store{Grant: 1}, plan.Apply{Grant: 1})
	w.pass(t)
	seen := w.observes(1, plan.Apply{Grant: 1})
	w.pass(t)
	before := *seen
	w.asked()

	d.Defaults = operatorconfig.Defaults{
		Image: "team:v8", Storage: bucket("moved"), Checkpointing: interval(time.Minute),
		Restart: &streamv1.Restart{None: &streamv1.NoRestart{}}, WorkerResources: &streamv1.Resources{Limits: corev1.ResourceList{}},
	}
	w.pass(t)
	if seen.Revision != before.Revision || seen.PolicyRevision != before.PolicyRevision {
		t.Error("a changed default is a new version of a running job")
	}
	if got := w.asked(); len(got) > 0 {
		t.Errorf("a changed default asked for %v", got)
	}

	// An edit that writes a default out is none either; one of the policy alone keeps the defaults.
	w.edit(t, func(s *streamv1.StreamJobSpec) { s.Storage = bucket("team") })
	d.Defaults = operatorconfig.Defaults{Image: "team:v8", Checkpointing: interval(30 * time.Second)}
	w.pass(t)
	if seen.Revision != before.Revision {
		t.Error("writing a default out is a new version")
	}
	w.edit(t, func(s *streamv1.StreamJobSpec) {
		s.Storage = nil
		s.Restart = &streamv1.Restart{None: &streamv1.NoRestart{}}
	})
	d.Checkpointing = interval(time.Hour)
	w.pass(t)
	if seen.Revision != before.Revision || seen.PolicyRevision == before.PolicyRevision || seen.Job.Spec.Checkpointing.Interval.Duration != 30*time.Second {
		t.Errorf("after an edit of the policy: revision %s, policy %s, %+v", seen.Revision, seen.PolicyRevision, seen.Job.Spec.Checkpointing)
	}
}

func TestDefaults_AreTakenWithTheNextVersionExceptWhereStateLives(t *testing.T) {
	w := newWorld(t, words())
	d := &defaults{operatorconfig.Defaults{Image: "team:v7", Storage: bucket("team"), Checkpointing: interval(30 * time.Second)}}
	w.Defaults = d
	w.observes(1, plan.Store{Grant: 1}, plan.Apply{Grant: 1})
	w.pass(t)
	d.Defaults = operatorconfig.Defaults{Image: "team:v8", Storage: bucket("moved"), Checkpointing: interval(time.Minute)}
	w.edit(t, func(s *streamv1.StreamJobSpec) { s.Parallelism = 4 })
	w.observes(2, plan.Store{Grant: 2})
	w.pass(t)
	r := w.storedRevision(t, "words-2")
	if r.Image != "team:v8" || r.Spec.Checkpointing.Interval.Duration != time.Minute {
		t.Errorf("the new version has image %s and interval %s", r.Image, r.Spec.Checkpointing.Interval.Duration)
	}
	if r.Spec.Storage.S3.Bucket != "team" {
		t.Errorf("the state was moved to bucket %s", r.Spec.Storage.S3.Bucket)
	}
}

func TestDefaults_AJobWithoutStorageGetsNoneLater(t *testing.T) {
	w := newWorld(t, words())
	d := &defaults{}
	w.Defaults = d
	w.observes(1, plan.Store{Grant: 1}, plan.Apply{Grant: 1})
	w.pass(t)
	if r := w.storedRevision(t, "words-1"); r.Defaults != nil {
		t.Errorf("no defaults are stored as %+v", r.Defaults)
	}
	d.Storage = bucket("team")
	w.edit(t, func(s *streamv1.StreamJobSpec) { s.Parallelism = 4 })
	seen := w.observes(2, plan.Store{Grant: 2})
	w.pass(t)
	if seen.Job.Spec.Storage != nil {
		t.Error("a job that was started without storage is to have some")
	}
}

func TestReport_ShowsTheDigestThatRuns(t *testing.T) {
	pod := func(name, component, image, id string) *corev1.Pod {
		return &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name, Labels: resources.Labels("words", 1, component)},
			Status: corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{
				{Name: "sidecar", Image: "other", ImageID: "x@sha256:feed"}, {Name: component, Image: image, ImageID: id},
			}},
		}
	}
	tests := map[string]struct {
		pods   []client.Object
		before *streamv1.ImageReport
		want   streamv1.ImageReport
	}{
		"not known yet": {[]client.Object{pod("words-1-coordinator-x", "coordinator", "weir:v1", "")}, nil, streamv1.ImageReport{Reference: "weir:v1"}},
		"pulled": {[]client.Object{
			pod("words-1-coordinator-x", "coordinator", "weir:v1", "docker.io/library/weir@sha256:aa"),
			pod("words-1-worker-0", "worker", "weir:v1", "docker.io/library/weir@sha256:aa"),
		}, nil, streamv1.ImageReport{Reference: "weir:v1", Digest: "sha256:aa"}},
		"of a local image": {[]client.Object{pod("words-1-worker-0", "worker", "weir:v1", "docker://sha256:bb")}, nil, streamv1.ImageReport{Reference: "weir:v1", Digest: "sha256:bb"}},
		"the tag was moved": {[]client.Object{
			pod("words-1-worker-1", "worker", "weir:v1", "weir@sha256:cc"), pod("words-1-worker-0", "worker", "weir:v1", "weir@sha256:aa"),
			pod("words-1-coordinator-x", "coordinator", "weir:v1", "weir@sha256:aa"),
		}, nil, streamv1.ImageReport{Reference: "weir:v1", Digest: "sha256:aa", DeviatingPod: "words-1-worker-1"}},
		"between two pods": {nil, &streamv1.ImageReport{Reference: "weir:v1", Digest: "sha256:aa"}, streamv1.ImageReport{Reference: "weir:v1", Digest: "sha256:aa"}},
		"of another image": {nil, &streamv1.ImageReport{Reference: "weir:v0", Digest: "sha256:aa"}, streamv1.ImageReport{Reference: "weir:v1"}},
		"only an agent":    {[]client.Object{pod("words-2-check-x", "agent", "weir:v2", "weir@sha256:dd")}, nil, streamv1.ImageReport{Reference: "weir:v1"}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			job := deployed()
			job.Status.Image = tc.before
			w := newWorld(t, append(tc.pods, job)...)
			w.plans(nil, plan.Store{Grant: 1}, plan.Apply{Grant: 1})
			w.pass(t)
			if diff := cmp.Diff(&tc.want, w.job(t).Status.Image); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestIsolation_FollowsTheSpecWithoutANewVersion(t *testing.T) {
	w := newWorld(t, deployed())
	w.Settings.OperatorNamespace = "weir-system"
	w.plans(nil, plan.Store{Grant: 1}, plan.Apply{Grant: 1})
	w.pass(t)
	w.asked()
	w.edit(t, func(s *streamv1.StreamJobSpec) { s.NetworkPolicy = streamv1.NetworkPolicyIsolated })
	w.plans(nil, plan.Apply{Grant: 1})
	w.pass(t)
	if diff := cmp.Diff([]string{"apply NetworkPolicy words-isolated"}, w.asked()); diff != "" {
		t.Errorf("isolating the job asked for (-want +got):\n%s", diff)
	}
	w.edit(t, func(s *streamv1.StreamJobSpec) { s.NetworkPolicy = "" })
	w.pass(t)
	if diff := cmp.Diff([]string{"delete NetworkPolicy words-isolated"}, w.asked()); diff != "" {
		t.Errorf("ending that asked for (-want +got):\n%s", diff)
	}
}

func TestRehearse_RefusedTemplatesAreFoundBeforeTheOldVersionStops(t *testing.T) {
	job := deployed()
	job.Spec.Workers = &streamv1.Workers{PodTemplate: &streamv1.PodTemplate{PriorityClassName: "none-such"}}
	w := newWorld(t, job)
	w.plans(nil, plan.Store{Grant: 2}, plan.RunAgent{Name: "words-2-check-x", Task: plan.CheckTask, Revision: 2, Grant: 2})
	w.pass(t)
	asked := w.asked()
	i, j := slices.Index(asked, "try StatefulSet words-2-worker"), slices.Index(asked, "apply Pod words-2-check-x")
	if i < 0 || j < i {
		t.Fatalf("the workers were not tried before the check: %v", asked)
	}
	if set := w.live(t, "words-2-worker"); set {
		t.Error("trying the workers has made them")
	}
	w = newWorld(t, job)
	w.plans(nil, plan.Store{Grant: 2}, plan.RunAgent{Name: "words-2-check-x", Task: plan.CheckTask, Revision: 2, Grant: 2})
	w.refuse = func(request string) error {
		if strings.HasPrefix(request, "try StatefulSet") {
			return errRefused
		}
		return nil
	}
	if _, err := w.Reconcile(t.Context(), requestOf(job)); err == nil || !strings.Contains(err.Error(), "podTemplate") {
		t.Errorf("got %v, want it to name podTemplate", err)
	}
	if slices.Contains(w.asked(), "apply Pod words-2-check-x") {
		t.Error("the check goes on")
	}
}

func TestKeepForm_OfAVersionWhoseRevisionIsLost(t *testing.T) {
	for form := range resources.NewestForm + 1 {
		t.Run(fmt.Sprint("form ", form), func(t *testing.T) {
			job := deployed()
			job.Spec.Workers = &streamv1.Workers{PodTemplate: &streamv1.PodTemplate{TerminationGracePeriodSeconds: 60}}
			w := newWorld(t, job)
			w.plans(nil, plan.Store{Grant: 1}, plan.Apply{Grant: 1})
			w.pass(t)
			if got := w.storedRevision(t, "words-1").Form; got != resources.NewestForm {
				t.Fatalf("a new version has form %d", got)
			}
			old := w.storedRevision(t, "words-1")
			old.Form = form
			config, err := resources.ConfigMap(w.job(t), 1, *old)
			if err != nil {
				t.Fatal(err)
			}
			if err := w.Apply(t.Context(), config, client.FieldOwner(FieldOwner), client.ForceOwnership); err != nil {
				t.Fatal(err)
			}
			w.clock.SetTime(w.clock.Now().Add(time.Minute))
			w.pass(t) // stores it again: the form stays
			if got := w.storedRevision(t, "words-1").Form; got != form {
				t.Errorf("a version of another operator got form %d", got)
			}
			if err := w.Delete(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "words-1"}}); err != nil {
				t.Fatal(err)
			}
			w.clock.SetTime(w.clock.Now().Add(time.Minute))
			w.pass(t)
			if got := w.storedRevision(t, "words-1").Form; got != form {
				t.Errorf("a version whose revision was lost got form %d", got)
			}
		})
	}
}

var errRefused = errors.New("refused")

func requestOf(job *streamv1.StreamJob) ctrl.Request {
	return ctrl.Request{NamespacedName: client.ObjectKeyFromObject(job)}
}

// live says whether there is a StatefulSet.
func (w *world) live(t *testing.T, name string) bool {
	t.Helper()
	err := w.Get(t.Context(), client.ObjectKey{Namespace: "ns", Name: name}, &appsv1.StatefulSet{})
	if err != nil && !apierrors.IsNotFound(err) {
		t.Fatal(err)
	}
	return err == nil
}

// TestDefaults_HowAnUpgradeIsDoneMovesNoState edits what only says how the next upgrade goes, which is no part of a version.
func TestDefaults_HowAnUpgradeIsDoneMovesNoState(t *testing.T) {
	stateless := &streamv1.Upgrade{Mode: streamv1.UpgradeStateless, DiscardState: "once"}
	tests := map[string]struct {
		first, then *streamv1.Upgrade
		want        *streamv1.Storage
	}{
		"a job with the default storage starts empty once": {nil, stateless, bucket("team")},
		"a job without storage":                            {stateless, nil, nil},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			job := words()
			job.Spec.Upgrade = tc.first
			w := newWorld(t, job)
			w.Defaults = &defaults{operatorconfig.Defaults{Storage: bucket("team"), Restart: &streamv1.Restart{None: &streamv1.NoRestart{}}}}
			w.observes(1, plan.Store{Grant: 1}, plan.Apply{Grant: 1})
			w.pass(t)
			seen := w.observes(1, plan.Apply{Grant: 1})
			w.pass(t)
			before := seen.Revision
			w.edit(t, func(s *streamv1.StreamJobSpec) { s.Upgrade = tc.then })
			w.pass(t)
			if diff := cmp.Diff(tc.want, seen.Job.Spec.Storage); diff != "" || seen.Revision != before {
				t.Errorf("revision %s, was %s; storage (-want +got):\n%s", seen.Revision, before, diff)
			}
			for grant := int64(2); grant < 4; grant++ {
				w.edit(t, func(s *streamv1.StreamJobSpec) { s.Parallelism += 2 })
				w.observes(grant, plan.Store{Grant: grant}, plan.Apply{Grant: grant})
				w.pass(t)
				if diff := cmp.Diff(tc.want, w.storedRevision(t, fmt.Sprintf("words-%d", grant)).Spec.Storage); diff != "" {
					t.Errorf("version %d (-want +got):\n%s", grant, diff)
				}
			}
		})
	}
}
