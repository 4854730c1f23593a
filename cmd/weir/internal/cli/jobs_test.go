// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
	"github.com/weir-stream/weir/cmd/weir/internal/cluster"
	"github.com/weir-stream/weir/runtime/contract"
)

// operator plays the operator in front of a fake API server: each time the StreamJob is watched, it does the next of its steps.
type operator struct {
	t     *testing.T
	steps []func(job *streamv1.StreamJob)
	// patches and owners are what the command sent.
	patches, owners []string
	client          client.WithWatch
}

func (o *operator) patch(ctx context.Context, c client.WithWatch, obj client.Object, patch client.Patch, opts ...client.PatchOption) error {
	body, err := patch.Data(obj)
	if err != nil {
		return err
	}
	o.patches = append(o.patches, string(body))
	options := client.PatchOptions{}
	options.ApplyOptions(opts)
	o.owners = append(o.owners, options.FieldManager)
	if err := c.Patch(ctx, obj, patch, opts...); err != nil {
		return err
	}
	// Unlike an API server, the fake one doesn't count generations.
	obj.SetGeneration(obj.GetGeneration() + 1)
	return c.Update(ctx, obj)
}

func (o *operator) watch(ctx context.Context, c client.WithWatch, list client.ObjectList, opts ...client.ListOption) (watch.Interface, error) {
	w, err := c.Watch(ctx, list, opts...)
	if err != nil {
		return nil, err
	}
	for _, step := range o.steps {
		o.do(ctx, c, step)
	}
	o.steps = nil
	return w, nil
}

// do changes status and finalizers of the job.
func (o *operator) do(ctx context.Context, c client.WithWatch, step func(job *streamv1.StreamJob)) {
	job := &streamv1.StreamJob{}
	if err := c.Get(ctx, client.ObjectKey{Namespace: "default", Name: "page-views"}, job); err != nil {
		o.t.Errorf("the job can't be read: %v", err)
		return
	}
	job.Status.ObservedGeneration = job.Generation
	step(job)
	spec, finalizers := job.Spec, job.Finalizers
	if err := c.Status().Update(ctx, job); err != nil {
		o.t.Errorf("the status can't be written: %v", err)
	}
	job.Spec, job.Finalizers = spec, finalizers
	if err := c.Update(ctx, job); err != nil {
		o.t.Errorf("the job can't be written: %v", err)
	}
}

// pageViews is a job that runs.
func pageViews(change ...func(job *streamv1.StreamJob)) *streamv1.StreamJob {
	job := &streamv1.StreamJob{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "page-views", UID: "u-1", Generation: 3, Finalizers: []string{streamv1.Finalizer}},
		Spec:       streamv1.StreamJobSpec{Storage: &streamv1.Storage{S3: &streamv1.S3Storage{Bucket: "b"}}},
		Status: streamv1.StreamJobStatus{
			ObservedGeneration: 3, Phase: streamv1.PhaseRunning, Grant: 4, Parallelism: 2,
			Deployment:    &streamv1.DeploymentReport{Grant: 4, Revision: "0a1b2c3d4e", Generation: 2},
			LastSavepoint: &streamv1.SnapshotReport{ID: 5, Path: "s3://b/old"},
		},
	}
	for _, f := range change {
		f(job)
	}
	return job
}

// inFake runs a command line against a fake cluster that holds the job.
func inFake(t *testing.T, o *operator, job *streamv1.StreamJob, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	o.t = t
	b := fake.NewClientBuilder().WithScheme(cluster.Scheme()).WithStatusSubresource(&streamv1.StreamJob{}).
		WithInterceptorFuncs(interceptor.Funcs{Patch: o.patch, Watch: o.watch})
	if job != nil {
		b.WithObjects(job)
	}
	o.client = b.Build()
	var out, errs bytes.Buffer
	a := &App{
		Out: &out, Err: &errs, Now: func() time.Time { return noon }, Version: "v0",
		Open: func(cluster.Options) (*cluster.Cluster, error) {
			return &cluster.Cluster{Client: o.client, Namespace: "default"}, nil
		},
	}
	if !slices.Contains(args, "--timeout") {
		args = append(args, "--timeout", "10s") // a step that is missing shows as exit code 3
	}
	code = a.Run(t.Context(), args)
	return code, out.String(), errs.String()
}

var trigger = regexp.MustCompile(`20260301t120000z-[0-9a-f]{8}`)

// The steps of an operator.

func saved(path string) func(*streamv1.StreamJob) {
	return func(job *streamv1.StreamJob) {
		job.Status.Operation = nil
		job.Status.LastSavepoint = &streamv1.SnapshotReport{ID: 9, Path: path}
		if s := job.Spec.Savepoint; s != nil {
			job.Status.SavepointTrigger = s.Trigger
		}
	}
}

func operating(kind streamv1.OperationType, phase streamv1.OperationPhase, message string) func(*streamv1.StreamJob) {
	return func(job *streamv1.StreamJob) {
		op := job.Status.Operation
		if op == nil {
			op = &streamv1.OperationReport{ID: "o-1", Type: kind, Attempts: 1}
		}
		if op.Message != "" && phase == streamv1.OperationSaving {
			op.Attempts++
		}
		op.Phase, op.Message = phase, message
		job.Status.Operation = op
	}
}

func phase(p streamv1.Phase) func(*streamv1.StreamJob) {
	return func(job *streamv1.StreamJob) { job.Status.Phase, job.Status.Operation = p, nil }
}

func ended(how streamv1.JobEnd) func(*streamv1.StreamJob) {
	return func(job *streamv1.StreamJob) { job.Status.Deployment = &streamv1.DeploymentReport{Ended: how} }
}

func stalled(job *streamv1.StreamJob) {
	job.Status.Conditions = []metav1.Condition{
		{Type: streamv1.ConditionStalled, Status: metav1.ConditionTrue, Reason: streamv1.ReasonInvalidSpec, Message: "a field: a remedy", ObservedGeneration: job.Generation},
	}
}

func released(job *streamv1.StreamJob) { job.Finalizers = nil }

func TestJobs_InACluster(t *testing.T) {
	tests := map[string]struct {
		args      []string
		job       *streamv1.StreamJob
		steps     []func(*streamv1.StreamJob)
		wantPatch []string
		wantCode  int
		wantOut   string
		wantErr   string
	}{
		"savepoint": {
			args: []string{"savepoint", "page-views"}, job: pageViews(),
			steps: []func(*streamv1.StreamJob){
				operating(streamv1.SavepointOperation, streamv1.OperationSaving, ""),
				operating(streamv1.SavepointOperation, streamv1.OperationWaiting, "the store said no"),
				operating(streamv1.SavepointOperation, streamv1.OperationSaving, "the store said no"),
				saved("s3://b/new"),
			},
			wantPatch: []string{`{"spec":{"savepoint":{"trigger":"TRIGGER"}}}`},
			wantOut:   "s3://b/new\n",
			wantErr: "12:00:00 page-views: waiting for the operator to look at generation 4\n" +
				"12:00:00 page-views: Running, savepoint saving\n" +
				"12:00:00 page-views: Running, savepoint waiting: the store said no\n" +
				"12:00:00 page-views: Running, savepoint saving (try 2): the store said no\n",
		},
		"savepoint elsewhere": {
			args: []string{"savepoint", "page-views", "--target", "mine"}, job: pageViews(), steps: []func(*streamv1.StreamJob){saved("s3://b/mine/new")},
			wantPatch: []string{`{"spec":{"savepoint":{"target":"mine","trigger":"TRIGGER"}}}`},
			wantOut:   "s3://b/mine/new\n", wantErr: "12:00:00 page-views: waiting for the operator to look at generation 4\n",
		},
		"savepoint where it was without target": {
			args: []string{"savepoint", "page-views", "--target", "", "--wait=false"}, job: pageViews(),
			wantPatch: []string{`{"spec":{"savepoint":{"target":null,"trigger":"TRIGGER"}}}`},
			wantOut:   "savepoint asked for: status.savepointTrigger is TRIGGER once it is complete\n",
		},
		"savepoint without storage": {
			args: []string{"savepoint", "page-views"}, job: pageViews(func(job *streamv1.StreamJob) { job.Spec.Storage = nil }), wantCode: exitFailed,
			wantErr: "weir: StreamJob page-views has no storage, so there are no savepoints of it: set spec.storage\n",
		},
		"savepoint of a suspended job": {
			args: []string{"savepoint", "page-views"}, wantCode: exitFailed,
			job:     pageViews(func(job *streamv1.StreamJob) { job.Status.Deployment.Ended = streamv1.EndStopped }),
			wantErr: "weir: StreamJob page-views is suspended: s3://b/old is its newest savepoint\n",
		},
		"savepoint that is overtaken": {
			args: []string{"savepoint", "page-views"}, job: pageViews(), wantCode: exitFailed,
			steps:     []func(*streamv1.StreamJob){func(job *streamv1.StreamJob) { job.Spec.Savepoint.Trigger = "another" }},
			wantPatch: []string{`{"spec":{"savepoint":{"trigger":"TRIGGER"}}}`},
			wantErr: "12:00:00 page-views: waiting for the operator to look at generation 4\n12:00:00 page-views: Running\n" +
				"weir: spec.savepoint was changed by somebody else before the savepoint was complete: ask again\n",
		},
		"suspend": {
			args: []string{"suspend", "page-views"}, job: pageViews(),
			steps: []func(*streamv1.StreamJob){
				operating(streamv1.SuspendOperation, streamv1.OperationSaving, ""), saved("s3://b/new"), phase(streamv1.PhaseSuspended),
			},
			wantPatch: []string{`{"spec":{"state":"Suspended"}}`}, wantOut: "s3://b/new\n",
			wantErr: "12:00:00 page-views: waiting for the operator to look at generation 4\n" +
				"12:00:00 page-views: Running, suspend saving\n12:00:00 page-views: Running\n",
		},
		"suspend without a savepoint": {
			args: []string{"suspend", "page-views"},
			job: pageViews(func(job *streamv1.StreamJob) {
				job.Status.LastCheckpoint = &streamv1.SnapshotReport{ID: 8, Path: "s3://b/chk-8"}
			}),
			steps:     []func(*streamv1.StreamJob){phase(streamv1.PhaseSuspended)},
			wantPatch: []string{`{"spec":{"state":"Suspended"}}`}, wantOut: "s3://b/chk-8\n",
			wantErr: "12:00:00 page-views: waiting for the operator to look at generation 4\n" +
				"12:00:00 page-views: suspended without a savepoint: it will go on from its newest checkpoint\n",
		},
		"suspend what has completed": {
			args: []string{"suspend", "page-views"}, job: pageViews(), steps: []func(*streamv1.StreamJob){phase(streamv1.PhaseCompleted)},
			wantPatch: []string{`{"spec":{"state":"Suspended"}}`}, wantCode: exitFailed,
			wantErr: "12:00:00 page-views: waiting for the operator to look at generation 4\n" +
				"weir: StreamJob page-views has read all its input, so there is nothing to suspend\n",
		},
		"resume": {
			args: []string{"resume", "page-views"}, job: pageViews(phase(streamv1.PhaseSuspended)),
			steps: []func(*streamv1.StreamJob){
				phase(streamv1.PhaseStarting),
				func(job *streamv1.StreamJob) {
					job.Status.Phase = streamv1.PhaseRunning
					job.Status.Restore = &streamv1.RestoreReport{Path: "s3://b/old"}
				},
			},
			wantPatch: []string{`{"spec":{"state":"Running"}}`}, wantOut: "s3://b/old\n",
			wantErr: "12:00:00 page-views: waiting for the operator to look at generation 4\n" +
				"12:00:00 page-views: Starting\n12:00:00 page-views: Running\n",
		},
		"resume of an invalid job": {
			args: []string{"resume", "page-views"}, job: pageViews(phase(streamv1.PhaseSuspended)), steps: []func(*streamv1.StreamJob){stalled},
			wantPatch: []string{`{"spec":{"state":"Running"}}`}, wantCode: exitFailed,
			wantErr: "12:00:00 page-views: waiting for the operator to look at generation 4\n" +
				"12:00:00 page-views: Suspended\nweir: the job is stalled: InvalidSpec: a field: a remedy\n",
		},
		"cancel": {
			args: []string{"cancel", "page-views"}, job: pageViews(),
			steps: []func(*streamv1.StreamJob){
				operating(streamv1.CancelOperation, streamv1.OperationCanceling, ""), phase(streamv1.PhaseCancelled),
			},
			wantPatch: []string{`{"spec":{"state":"Cancelled"}}`}, wantOut: "cancelled\n",
			wantErr: "12:00:00 page-views: cancelling; its checkpoints and savepoints stay in storage, and weir resume page-views goes on from them\n" +
				"12:00:00 page-views: waiting for the operator to look at generation 4\n12:00:00 page-views: Running, cancel cancelling\n",
		},
		"cancel what has completed": {
			args: []string{"cancel", "page-views"}, job: pageViews(func(job *streamv1.StreamJob) { job.Spec.Storage = nil }), wantCode: exitFailed,
			steps:     []func(*streamv1.StreamJob){phase(streamv1.PhaseCompleted)},
			wantPatch: []string{`{"spec":{"state":"Cancelled"}}`},
			wantErr: "12:00:00 page-views: cancelling; its state is in memory only and is lost\n" +
				"12:00:00 page-views: waiting for the operator to look at generation 4\n" +
				"weir: StreamJob page-views has read all its input, so there is nothing to cancel\n",
		},
		"cancel what had completed": {
			args: []string{"cancel", "page-views"}, job: pageViews(ended(streamv1.EndFinished)), wantCode: exitFailed,
			wantErr: "weir: StreamJob page-views has read all its input, so there is nothing to cancel\n",
		},
		"resume what had completed": {
			args: []string{"resume", "page-views"}, job: pageViews(ended(streamv1.EndFinished)), wantCode: exitFailed,
			wantErr: "weir: StreamJob page-views has read all its input, so there is nothing to resume\n",
		},
		"suspend what is cancelled": {
			args: []string{"suspend", "page-views"}, job: pageViews(), steps: []func(*streamv1.StreamJob){phase(streamv1.PhaseCancelled)},
			wantPatch: []string{`{"spec":{"state":"Suspended"}}`}, wantCode: exitFailed,
			wantErr: "12:00:00 page-views: waiting for the operator to look at generation 4\n" +
				"weir: StreamJob page-views is cancelled, so there is nothing to suspend: weir resume page-views runs it on\n",
		},
		"delete": {
			args: []string{"delete", "page-views"}, job: pageViews(),
			steps:   []func(*streamv1.StreamJob){phase(streamv1.PhaseDeleting), released},
			wantOut: "deleted\n",
			wantErr: "12:00:00 page-views: deleting; its checkpoints and savepoints stay in storage, and a StreamJob created again with this name and storage goes on from them\n" +
				"12:00:00 page-views: Running\n12:00:00 page-views: Deleting\n",
		},
		"delete with a savepoint": {
			args: []string{"delete", "page-views", "--savepoint"}, job: pageViews(),
			steps:     []func(*streamv1.StreamJob){saved("s3://b/last"), released},
			wantPatch: []string{`{"spec":{"deletionPolicy":"Savepoint"}}`},
			wantOut:   "s3://b/last\n",
			wantErr: "12:00:00 page-views: deleting; a savepoint is taken first; its checkpoints and savepoints stay in storage, and a StreamJob created again with this name and storage goes on from them\n" +
				"12:00:00 page-views: Running\n",
		},
		"delete by force": {
			args: []string{"delete", "page-views", "--force"}, job: pageViews(), steps: []func(*streamv1.StreamJob){released},
			wantPatch: []string{`{"spec":{"deletion":{"force":true}}}`}, wantOut: "deleted\n",
			wantErr: "12:00:00 page-views: deleting; nothing is asked of its engine and its storage (spec.deletion.force), and all that is in storage stays\n" +
				"12:00:00 page-views: Running\n",
		},
		"delete without waiting": {
			args: []string{"delete", "page-views", "--wait=false"}, wantOut: "deletion asked for\n",
			job: pageViews(func(job *streamv1.StreamJob) {
				job.Spec.Checkpointing = &streamv1.Checkpointing{Retention: &streamv1.Retention{OnCancel: streamv1.DeleteOnCancel}}
			}),
			wantErr: "12:00:00 page-views: deleting; its checkpoints are deleted (spec.checkpointing.retention.onCancel is Delete), savepoints stay\n",
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			o := &operator{steps: tc.steps}
			code, out, errs := inFake(t, o, tc.job, tc.args...)
			if code != tc.wantCode {
				t.Errorf("exit code %d, want %d", code, tc.wantCode)
			}
			got := append([]string{out, errs}, o.patches...)
			for i := range got {
				got[i] = trigger.ReplaceAllString(got[i], "TRIGGER")
			}
			if diff := cmp.Diff(append([]string{tc.wantOut, tc.wantErr}, tc.wantPatch...), got); diff != "" {
				t.Errorf("stdout, stderr, patches (-want +got):\n%s", diff)
			}
			for _, owner := range o.owners {
				if owner != cluster.FieldManager {
					t.Errorf("a field was set as %q, want %q", owner, cluster.FieldManager)
				}
			}
		})
	}
}

func TestJobs_AWaitEndsWithItsTimeout(t *testing.T) {
	tests := map[string]struct {
		steps []func(*streamv1.StreamJob)
		want  string
	}{
		"with what is in the way": {
			[]func(*streamv1.StreamJob){operating(streamv1.SuspendOperation, streamv1.OperationWaiting, "the store said no")},
			"Running, suspend waiting: the store said no",
		},
		"with an operator that is away": {
			nil, "the operator has not looked at generation 4 yet: see whether it runs, with kubectl get pods --namespace weir-system",
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			code, out, errs := inFake(t, &operator{steps: tc.steps}, pageViews(), "suspend", "page-views", "--timeout", "50ms")
			want := "weir: gave up waiting after 50ms, what was asked for may still happen: " + tc.want + "\n"
			if code != exitTimeout || out != "" || !strings.HasSuffix(errs, want) {
				t.Errorf("exit code %d, stdout %q, stderr %q, want %q", code, out, errs, want)
			}
		})
	}
}

func TestJobs_AWaitEndsWithASignal(t *testing.T) {
	signals := make(chan os.Signal, 1)
	var out, errs bytes.Buffer
	c := fake.NewClientBuilder().WithScheme(cluster.Scheme()).WithObjects(pageViews()).WithInterceptorFuncs(interceptor.Funcs{
		Watch: func(ctx context.Context, c client.WithWatch, list client.ObjectList, opts ...client.ListOption) (watch.Interface, error) {
			signals <- os.Interrupt
			return c.Watch(ctx, list, opts...)
		},
	}).Build()
	a := &App{
		Out: &out, Err: &errs, Now: func() time.Time { return noon }, Signals: signals,
		Open: func(cluster.Options) (*cluster.Cluster, error) {
			return &cluster.Cluster{Client: c, Namespace: "default"}, nil
		},
	}
	if code := a.Run(t.Context(), []string{"suspend", "page-views"}); code != exitFailed || !strings.HasSuffix(errs.String(), "weir: interrupted; what was asked for goes on\n") {
		t.Errorf("exit code %d, stderr %q", code, errs.String())
	}
}

func TestJobs_AJobThatIsNotThere(t *testing.T) {
	for _, verb := range []string{"status", "savepoint", "suspend", "resume", "cancel", "delete", "checkpoint", "restart", "pause", "unpause", "history", "checkpoints"} {
		t.Run(verb, func(t *testing.T) {
			code, out, errs := inFake(t, &operator{}, nil, verb, "page-views")
			want := "weir: there is no StreamJob \"page-views\" in namespace \"default\": \"kubectl get streamjobs --all-namespaces\" lists those there are\n"
			if code != exitFailed || out != "" || errs != want {
				t.Errorf("exit code %d, stdout %q, stderr %q, want %q", code, out, errs, want)
			}
		})
	}
}

func full() *streamv1.StreamJob {
	at := func(d time.Duration) metav1.Time { return metav1.NewTime(noon.Add(-d)) }
	micro := func(d time.Duration) metav1.MicroTime { return metav1.NewMicroTime(noon.Add(-d)) }
	return pageViews(func(job *streamv1.StreamJob) {
		job.Generation = 5
		job.Status = streamv1.StreamJobStatus{
			ObservedGeneration: 4, Phase: streamv1.PhaseUpgrading, Grant: 4, Parallelism: 2,
			Job: &streamv1.JobReport{
				ID: "0123456789abcdef", Epoch: "4-1", State: "Running", MaxParallelism: 128, Restarts: 1,
				LastFailure: &streamv1.FailureReport{At: at(90 * time.Second), Message: "worker w-2 is lost"},
			},
			Deployment:     &streamv1.DeploymentReport{Grant: 4, Revision: "0a1b2c3d4e", Generation: 3},
			LastCheckpoint: &streamv1.SnapshotReport{ID: 9, Path: "s3://b/p/chk-9/", CompletedAt: at(3 * time.Second), SizeBytes: 4 << 20, DurationMillis: 31},
			LastSavepoint:  &streamv1.SnapshotReport{ID: 5, Path: "s3://b/s/savepoint-012345-a/", CompletedAt: at(time.Hour), SizeBytes: 100},
			Checkpoints: &streamv1.CheckpointsReport{
				Completed: 8, Failed: 3, ConsecutiveFailures: 2,
				Slowest:     &streamv1.CheckpointCulprit{ID: 9, Phase: "Upload", Task: "count/0", DurationMillis: 30, Message: "the upload of count/0 took 30ms"},
				LastFailure: &streamv1.CheckpointFailure{ID: 11, At: metav1.NewTime(noon.Add(-time.Second)), Reason: "Expired", Message: "not complete within 1s: no acknowledgement of count/1"},
			},
			Restore: &streamv1.RestoreReport{
				RequestedMode: "Savepoint", EffectiveMode: "LastCheckpoint", Path: "s3://b/p/chk-4/", CheckpointID: 4, TakenAt: at(10 * time.Minute),
				Reason: "the coordinator did not answer for 30s",
			},
			LastUpgrade: &streamv1.UpgradeReport{
				FromRevision: "9f8e7d6c5b", ToRevision: "0a1b2c3d4e", Path: "s3://b/s/savepoint-012345-a/", StartedAt: micro(time.Hour + 4*time.Second), CompletedAt: micro(time.Hour),
				CheckMillis: 1200, SaveMillis: 340, PodsMillis: 1900, RestoreMillis: 450,
			},
			Operation: &streamv1.OperationReport{
				ID: "4-1-x", Type: streamv1.UpgradeOperation, Phase: streamv1.OperationWaiting, Attempts: 2, StartedAt: micro(time.Minute), PhaseStartedAt: micro(4 * time.Second),
				RetryAt: at(-6 * time.Second), Reason: streamv1.ReasonStorageUnavailable, Message: "the store\ndoes not answer",
			},
			Conditions: []metav1.Condition{
				{Type: streamv1.ConditionReady, Status: metav1.ConditionFalse, Reason: streamv1.ReasonUpgrading, Message: "revision 3 replaces 2", LastTransitionTime: at(time.Minute)},
				{Type: streamv1.ConditionReconciling, Status: metav1.ConditionTrue, Reason: streamv1.ReasonUpgrading, Message: "revision 3 replaces 2", LastTransitionTime: at(time.Minute)},
				{Type: streamv1.ConditionRunning, Status: metav1.ConditionTrue, Reason: streamv1.ReasonRunning, LastTransitionTime: at(time.Hour)},
			},
		}
	})
}

func pods() []corev1.Pod {
	pod := func(name, component, grant string, age time.Duration) corev1.Pod {
		return corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{
				Namespace: "default", Name: name, CreationTimestamp: metav1.NewTime(noon.Add(-age)),
				Labels: map[string]string{streamv1.LabelJob: "page-views", streamv1.LabelComponent: component, streamv1.LabelGrant: grant},
			},
			Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: component}}},
		}
	}
	worker := pod("page-views-4-worker-0", "worker", "4", time.Hour)
	worker.Status = corev1.PodStatus{Phase: corev1.PodRunning, ContainerStatuses: []corev1.ContainerStatus{{Ready: true, RestartCount: 2}}}
	agent := pod("page-views-5-check-1", "agent", "5", 2*time.Second)
	agent.Status = corev1.PodStatus{Phase: corev1.PodPending, ContainerStatuses: []corev1.ContainerStatus{
		{State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ImagePullBackOff"}}},
	}}
	return []corev1.Pod{agent, worker}
}

func TestPrintJob(t *testing.T) {
	tests := map[string]struct {
		job  *streamv1.StreamJob
		pods []corev1.Pod
	}{
		"job_full.txt": {full(), pods()},
		"job_new.txt":  {&streamv1.StreamJob{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "page-views", Generation: 1}}, nil},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			var b bytes.Buffer
			if err := printJob(&b, noon, tc.job, tc.pods); err != nil {
				t.Fatal(err)
			}
			golden(t, name, b.String())
		})
	}
}

func TestJobStatus_AsData(t *testing.T) {
	code, out, errs := inFake(t, &operator{}, full(), "status", "page-views", "-o", "json")
	var job streamv1.StreamJob
	if err := json.Unmarshal([]byte(out), &job); code != exitOK || errs != "" || err != nil || job.Kind != "StreamJob" || job.Status.Job.ID != "0123456789abcdef" {
		t.Errorf("exit code %d, stderr %q, error %v, printed %s", code, errs, err, out)
	}
	code, out, errs = inFake(t, &operator{}, full(), "status", "page-views", "-o", "yaml")
	if code != exitOK || errs != "" || !strings.Contains(out, "\nkind: StreamJob\n") {
		t.Errorf("exit code %d, stderr %q, printed %s", code, errs, out)
	}
}

func TestJobStatus_WithoutTheRightToSeePods(t *testing.T) {
	forbidden := apierrors.NewForbidden(schema.GroupResource{Resource: "pods"}, "", nil)
	c := fake.NewClientBuilder().WithScheme(cluster.Scheme()).WithObjects(pageViews()).WithInterceptorFuncs(interceptor.Funcs{
		List: func(context.Context, client.WithWatch, client.ObjectList, ...client.ListOption) error {
			return forbidden
		},
	}).Build()
	var out, errs bytes.Buffer
	a := &App{
		Out: &out, Err: &errs, Now: func() time.Time { return noon },
		Open: func(cluster.Options) (*cluster.Cluster, error) {
			return &cluster.Cluster{Client: c, Namespace: "default"}, nil
		},
	}
	code := a.Run(t.Context(), []string{"status", "page-views"})
	if code != exitOK || !strings.Contains(out.String(), "grant 4") || !strings.Contains(errs.String(), "listing the pods") {
		t.Errorf("exit code %d, stdout %q, stderr %q", code, out.String(), errs.String())
	}
}

func TestPlugin_IsCalledAsKubectlDoes(t *testing.T) {
	var out, errs bytes.Buffer
	a := &App{Out: &out, Err: &errs, Now: func() time.Time { return noon }, Plugin: true}
	if code := a.Run(t.Context(), []string{"suspend"}); code != exitUsage || errs.String() != "weir: JOB is missing\nTry 'kubectl weir suspend --help'.\n" {
		t.Errorf("exit code %d, stderr %q", code, errs.String())
	}
}

func TestNoCluster(t *testing.T) {
	t.Setenv("KUBECONFIG", filepath.Join(t.TempDir(), "none"))
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	code, _, errs := weir(t, "status", "page-views")
	want := "weir: there is no cluster to talk to: name a kubeconfig with --kubeconfig or $KUBECONFIG, or give --api for a job outside of Kubernetes\n"
	if code != exitFailed || errs != want {
		t.Errorf("exit code %d, stderr %q, want %q", code, errs, want)
	}
}

// history is a report on checkpoints with everything in it.
func history() contract.CheckpointsReport {
	at := func(d time.Duration) time.Time { return noon.Add(-d) }
	spread := func(n int64) contract.Spread {
		return contract.Spread{Min: n, Avg: 2 * n, P50: 2 * n, P95: 3 * n, P99: 4 * n, Max: 5 * n}
	}
	return contract.CheckpointsReport{
		Completed: 8, Failed: 2, InFlight: 1, Waiting: "the pause after the last one", FailedByReason: map[string]int64{"Expired": 1, "AsyncFailure": 1},
		Advice: []string{"checkpoints take 12s (median), longer than the interval of 10s: raise checkpointing.interval"},
		Recent: []contract.CheckpointReport{
			{
				SnapshotInfo: contract.SnapshotInfo{ID: 11, Kind: "Checkpoint", DurationMillis: 1500}, TriggeredAt: at(1500 * time.Millisecond), State: "InFlight",
				Acked: 1, Tasks: 4, Culprit: &contract.Culprit{Phase: "Channel", Task: "count/1", Text: "no barrier had come to count/1 for 1.5s"},
			},
			{
				SnapshotInfo: contract.SnapshotInfo{ID: 10, Kind: "Checkpoint", DurationMillis: 600}, TriggeredAt: at(10 * time.Second), State: "Failed",
				Reason: "AsyncFailure", Error: "count/1:\nno space", Acked: 3, Tasks: 4, IdleGapMillis: new(int64(4000)),
			},
			{
				SnapshotInfo: contract.SnapshotInfo{ID: 9, Kind: "Savepoint", SizeBytes: 4 << 20, DurationMillis: 31}, TriggeredAt: at(20 * time.Second), State: "Completed",
				Acked: 4, Tasks: 4, WrittenBytes: 1 << 20, TriggerDelayMillis: 4, StartDelayMillis: 5, AlignmentMillis: 3, SyncMicros: 4000, AsyncMillis: 12, UploadMillis: 11,
				SlowestTask: "count/0", Culprit: &contract.Culprit{Phase: "Upload", Task: "count/0", Millis: 11, Text: "the upload of count/0 took 11ms"},
			},
			{
				SnapshotInfo: contract.SnapshotInfo{ID: 8, Kind: "Checkpoint", SizeBytes: 100, DurationMillis: 20}, TriggeredAt: at(time.Minute), State: "Completed",
				Acked: 4, Tasks: 4, SlowestTask: "count/0", Culprit: &contract.Culprit{Text: "not told: only the newest"},
			},
		},
		Summary: &contract.CheckpointsSummary{
			Count: 7, DurationMillis: spread(20), IdleGapMillis: spread(9000), TriggerDelayMillis: spread(1), StartDelayMillis: spread(2), AlignmentMillis: spread(1), SyncMicros: spread(1000),
			AsyncMillis: spread(10), UploadMillis: spread(9), FinalizeMillis: spread(3), SizeBytes: spread(1 << 20), WrittenBytes: spread(1000),
		},
		Retained: []contract.SnapshotInfo{{ID: 8, Kind: "Checkpoint", Path: "s3://b/p/chk-8/", CompletedAt: at(time.Minute), SizeBytes: 100}},
	}
}

func TestCheckpoints(t *testing.T) {
	addr, _ := fakeAPI(t, map[string]any{"GET /v1/checkpoints": history()}, http.StatusOK)
	code, out, errs := weir(t, "checkpoints", "--api", addr)
	if code != exitOK || errs != "" {
		t.Errorf("exit code %d, stderr %q", code, errs)
	}
	golden(t, "checkpoints.txt", out)
	code, out, _ = weir(t, "checkpoints", "--api", addr, "-o", "yaml")
	if code != exitOK || !strings.HasPrefix(out, "advice:\n") || !strings.Contains(out, "\ncompleted: 8\n") {
		t.Errorf("exit code %d, YAML %s", code, out)
	}
}

func TestCheckpoints_NothingYet(t *testing.T) {
	addr, _ := fakeAPI(t, map[string]any{"GET /v1/checkpoints": contract.CheckpointsReport{}}, http.StatusOK)
	code, out, errs := weir(t, "checkpoints", "--api", addr)
	if want := "Since the coordinator started  0 completed, 0 failed, 0 in flight\n"; code != exitOK || errs != "" || out != want {
		t.Errorf("exit code %d, stderr %q, printed %q, want %q", code, errs, out, want)
	}
}

func TestCheckpoints_OneInDetail(t *testing.T) {
	detail := contract.CheckpointDetail{
		CheckpointReport: contract.CheckpointReport{
			SnapshotInfo: contract.SnapshotInfo{ID: 12, Kind: "Checkpoint", Path: "s3://b/p/chk-12/", SizeBytes: 4 << 20, DurationMillis: 600_000},
			TriggeredAt:  noon.Add(-11 * time.Minute), State: "Failed", Reason: "Expired", Counted: true, Acked: 2, Tasks: 8, Missing: []string{"count/0", "count/1"},
			Error:        "not complete within 10m0s: no acknowledgement of count/1; the barrier was behind rows in the channel from map/1 to count/1 for 9m59s",
			WrittenBytes: 1 << 20, ReusedBytes: 3 << 20, AlignmentBytes: 2000, ChannelBytes: 100, QueuedMillis: 3, IdleGapMillis: new(int64(9000)),
			TriggerDelayMillis: 2, StartDelayMillis: 7, AlignmentMillis: 30, WaitedMillis: 4, SyncMicros: 5000, AsyncMillis: 60, UploadMillis: 50,
			Culprit: &contract.Culprit{Phase: "Channel", Task: "count/1", Channel: "map/1 -> count/1", Text: "the barrier was behind rows"},
		},
		Vertices: []contract.VertexCheckpoint{
			{
				Vertex: "numbers", Operators: []string{"numbers", "map"}, Acked: 1, Tasks: 1, AckedMillis: 70, StartDelayMillis: 2, SyncMicros: 5000, AsyncMillis: 60,
				UploadMillis: 50, SizeBytes: 4 << 20, WrittenBytes: 1 << 20, ReusedBytes: 3 << 20,
				ByOperator: []contract.OperatorCheckpoint{{Operator: "numbers", SyncMicros: 4800, AsyncMillis: 10, WrittenBytes: 300}, {Operator: "map", SyncMicros: 120}},
				Subtasks: []contract.SubtaskCheckpoint{{
					Acked: true, AckedMillis: 70, StartDelayMillis: 2, SyncMicros: 5000, AsyncMillis: 60, UploadMillis: 50, SizeBytes: 4 << 20, WrittenBytes: 1 << 20,
					ReusedBytes: 3 << 20, BusyPercent: 10, BlockedPercent: 85,
				}},
			},
			{
				Vertex: "count", Operators: []string{"count"}, Acked: 1, Tasks: 7, Slowest: 1, AckedMillis: 50, StartDelayMillis: 7, AlignmentMillis: 30, AckDelayMillis: 8,
				AlignmentBytes: 2000, ChannelBytes: 100, Omitted: 4, ByOperator: []contract.OperatorCheckpoint{{Operator: "count"}},
				Subtasks: []contract.SubtaskCheckpoint{
					{Subtask: 0},
					{Subtask: 1, Stage: "Aligning", StageMillis: 599_000, MissingFrom: []string{"map/1", "map/2"}, MissingCount: 5},
					{
						Subtask: 2, Acked: true, AckedMillis: 50, StartDelayMillis: 7, AlignmentMillis: 30, LastFrom: "map/1", BusyPercent: 98,
						AckDelayMillis: 8, AlignmentBytes: 2000, ChannelBytes: 100, Channels: []contract.ChannelCheckpoint{
							{From: "map/1", DelayMillis: 30, OvertakenBytes: 100}, {From: "map/0", BlockedMillis: 30, BlockedBytes: 2000},
						},
					},
				},
			},
		},
	}
	addr, _ := fakeAPI(t, map[string]any{"GET /v1/checkpoints/12": detail}, http.StatusOK)
	code, out, errs := weir(t, "checkpoints", "--api", addr, "--id", "12")
	if code != exitOK || errs != "" {
		t.Errorf("exit code %d, stderr %q", code, errs)
	}
	golden(t, "checkpoint.txt", out)
	code, out, _ = weir(t, "checkpoints", "--api", addr, "--id", "12", "-o", "json")
	if code != exitOK || !strings.Contains(out, `"channel": "map/1 -\u003e count/1"`) {
		t.Errorf("exit code %d, JSON %s", code, out)
	}
	if code, _, errs = weir(t, "checkpoints", "--api", addr, "--id", "0"); code != exitUsage || !strings.Contains(errs, "--id is not the number of a checkpoint") {
		t.Errorf("exit code %d, stderr %q for --id 0", code, errs)
	}
}
