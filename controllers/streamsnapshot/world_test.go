// SPDX-License-Identifier: Apache-2.0

package streamsnapshot

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kruntime "k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	testclock "k8s.io/utils/clock/testing"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
	"github.com/weir-stream/weir/controllers/streamjob/engine"
	jobplan "github.com/weir-stream/weir/controllers/streamjob/plan"
	"github.com/weir-stream/weir/controllers/streamjob/resources"
	"github.com/weir-stream/weir/runtime/contract"
)

var snapKey = types.NamespacedName{Namespace: "ns", Name: "before"}

// errKilled is what an operator gets that is dead.
var errKilled = errors.New("the operator was killed")

// coordinator plays that of the job: it takes one savepoint for each id.
type coordinator struct {
	engine.Commands
	w      *world
	status *contract.JobStatus
	taken  map[string]contract.Operation
}

// Report returns what it says.
func (c *coordinator) Report(types.NamespacedName) *jobplan.Engine {
	return &jobplan.Engine{Grant: 1, Status: c.status}
}

// Client returns it.
func (c *coordinator) Client(types.NamespacedName) (engine.Commands, error) { return c, nil }

// Savepoint takes one, and loses the answer when the operator dies.
func (c *coordinator) Savepoint(_ context.Context, r contract.SavepointRequest) (*contract.Operation, error) {
	if c.w.dead {
		return nil, errKilled
	}
	o, ok := c.taken[r.OperationID]
	if !ok {
		at := c.w.clock.Now()
		o = contract.Operation{
			ID: r.OperationID, Type: contract.SavepointOperation, Phase: contract.OperationSucceeded, Checkpoint: 7, SizeBytes: 10,
			Path: "s3://bkt/savepoints/savepoint-012345-" + r.OperationID + "/", StartedAt: at, EndedAt: at,
		}
		c.taken[r.OperationID] = o
		c.w.store[o.Path] = true
	}
	if err := c.w.spend("savepoint"); err != nil {
		return nil, err
	}
	return &o, nil
}

// world is a cluster with one job and one StreamSnapshot, its storage, and the operator.
type world struct {
	client.WithWatch
	*Reconciler
	clock *testclock.FakePassiveClock
	coord *coordinator
	// store are the snapshots in storage, removed how often agents removed one.
	store   map[string]bool
	removed int
	// budget is how many requests go through before the operator dies; negative: any number. lost has the last one happen, its answer lost.
	budget   int
	lost     bool
	dead     bool
	requests []string
}

func newWorld(t *testing.T, objects ...client.Object) *world {
	t.Helper()
	scheme := kruntime.NewScheme()
	for _, add := range []func(*kruntime.Scheme) error{corev1.AddToScheme, streamv1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	w := &world{
		clock: testclock.NewFakePassiveClock(time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)), store: map[string]bool{}, budget: -1,
	}
	w.coord = &coordinator{
		w: w, status: &contract.JobStatus{JobID: "0123456789", State: contract.JobRunning}, taken: map[string]contract.Operation{},
	}
	objects = append(objects, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "ns"}})
	w.WithWatch = fake.NewClientBuilder().WithScheme(scheme).WithObjects(objects...).
		WithStatusSubresource(&streamv1.StreamJob{}, &streamv1.StreamSnapshot{}).Build()
	w.restart()
	return w
}

// restart is another operator.
func (w *world) restart() {
	w.dead = false
	w.Reconciler = &Reconciler{
		Client: interceptor.NewClient(w.WithWatch, w.interceptor()), APIReader: w.WithWatch, Recorder: events.NewFakeRecorder(1000),
		Clock: w.clock, Engines: w.coord, Settings: resources.Settings{EngineImage: "weir:v1"},
	}
	w.ensureDefaults()
}

// spend takes one request from the budget.
func (w *world) spend(request string) error {
	switch {
	case w.dead:
		return errKilled
	case w.budget == 0:
		w.dead = true
		return errKilled
	case w.budget > 0:
		w.budget--
	}
	w.requests = append(w.requests, request)
	return nil
}

// write does one request; the one at which the operator dies happens too when its answer is to be lost.
func (w *world) write(request string, do func() error) error {
	was := w.dead
	err := w.spend(request)
	if err != nil && w.lost && !was {
		return errors.Join(err, do())
	}
	if err != nil {
		return err
	}
	return do()
}

func (w *world) interceptor() interceptor.Funcs {
	return interceptor.Funcs{
		Create: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.CreateOption) error {
			return w.write("create "+o.GetName(), func() error { return c.Create(ctx, o, opts...) })
		},
		Apply: func(ctx context.Context, c client.WithWatch, o kruntime.ApplyConfiguration, opts ...client.ApplyOption) error {
			return w.write("apply", func() error { return c.Apply(ctx, o, opts...) })
		},
		Patch: func(ctx context.Context, c client.WithWatch, o client.Object, p client.Patch, opts ...client.PatchOption) error {
			return w.write("patch "+o.GetName(), func() error { return c.Patch(ctx, o, p, opts...) })
		},
		Delete: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.DeleteOption) error {
			return w.write("delete "+o.GetName(), func() error { return c.Delete(ctx, o, opts...) })
		},
		SubResourcePatch: func(ctx context.Context, c client.Client, sub string, o client.Object, p client.Patch, opts ...client.SubResourcePatchOption) error {
			return w.write("patch "+sub+" "+o.GetName(), func() error { return c.SubResource(sub).Patch(ctx, o, p, opts...) })
		},
	}
}

// kubelet runs the agent pods to their end.
func (w *world) kubelet(t *testing.T) {
	t.Helper()
	pods := &corev1.PodList{}
	if err := w.List(t.Context(), pods); err != nil {
		t.Fatal(err)
	}
	for i := range pods.Items {
		pod := &pods.Items[i]
		if len(pod.Status.ContainerStatuses) > 0 {
			continue
		}
		r := w.agent(pod.Spec.Containers[0].Args)
		text, err := r.Encode()
		if err != nil {
			t.Fatal(err)
		}
		pod.Status.Phase = corev1.PodSucceeded
		pod.Status.ContainerStatuses = []corev1.ContainerStatus{{State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{Message: string(text)}}}}
		if err := w.Status().Update(t.Context(), pod); err != nil {
			t.Fatal(err)
		}
	}
}

// agent does what an agent does.
func (w *world) agent(args []string) contract.AgentResult {
	path := ""
	for i, arg := range args {
		if arg == "--path" {
			path = strings.TrimSuffix(strings.TrimPrefix(args[i+1], "s3://bkt/"), "/")
		}
	}
	full := "s3://bkt/" + path + "/"
	switch {
	case args[1] == "remove":
		if w.store[full] {
			w.removed++
		}
		delete(w.store, full)
		return contract.AgentResult{Task: contract.AgentRemove, OK: true, Deleted: 1}
	case w.store[full]:
		return contract.AgentResult{Task: contract.AgentInspect, OK: true, JobID: "0123456789", Snapshot: &contract.SnapshotInfo{ID: 7, Kind: "Savepoint", Path: full}}
	default:
		return contract.AgentResult{Task: contract.AgentInspect, Problem: &contract.Problem{Reason: contract.RestoreNotFound, Message: "there is none"}}
	}
}

// pass makes one pass, lets agents run and a second go by.
func (w *world) pass(t *testing.T) (ctrl.Result, error) {
	t.Helper()
	result, err := w.Reconcile(t.Context(), ctrl.Request{NamespacedName: snapKey})
	w.kubelet(t)
	w.clock.SetTime(w.clock.Now().Add(time.Second))
	return result, err
}

// until makes passes, with another operator whenever one dies, until it is done.
func (w *world) until(t *testing.T, done func(*streamv1.StreamSnapshot) bool) {
	t.Helper()
	for range 200 {
		snap := w.snap(t)
		if done(snap) {
			return
		}
		if _, err := w.pass(t); err != nil && !w.dead {
			t.Fatal(err)
		}
		if w.dead {
			w.restart()
			w.budget = -1
		}
	}
	t.Fatalf("it never came to its end: %+v", w.snap(t))
}

// snap reads the StreamSnapshot; nil: it is gone.
func (w *world) snap(t *testing.T) *streamv1.StreamSnapshot {
	t.Helper()
	snap := &streamv1.StreamSnapshot{}
	if err := w.Get(t.Context(), snapKey, snap); err != nil {
		if client.IgnoreNotFound(err) == nil {
			return nil
		}
		t.Fatal(err)
	}
	return snap
}

func job() *streamv1.StreamJob {
	return &streamv1.StreamJob{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "words", UID: "11111111-2222-3333-4444-555555555555"},
		Spec: streamv1.StreamJobSpec{Storage: &streamv1.Storage{S3: &streamv1.S3Storage{
			Bucket: "bkt", CredentialsSecretRef: &streamv1.SecretReference{Name: "s3-credentials"},
		}}},
		Status: streamv1.StreamJobStatus{Deployment: &streamv1.DeploymentReport{Grant: 1}, Job: &streamv1.JobReport{ID: "0123456789"}},
	}
}

func snapshot(change ...func(*streamv1.StreamSnapshot)) *streamv1.StreamSnapshot {
	s := &streamv1.StreamSnapshot{
		ObjectMeta: metav1.ObjectMeta{Namespace: snapKey.Namespace, Name: snapKey.Name, UID: "66666666-7777-8888-9999-000000000000"},
		Spec:       streamv1.StreamSnapshotSpec{JobRef: &streamv1.JobReference{Name: "words"}, ReclaimPolicy: streamv1.ReclaimDelete},
	}
	for _, c := range change {
		c(s)
	}
	return s
}

// adopting makes it one of a path.
func adopting(s *streamv1.StreamSnapshot) {
	s.Spec = streamv1.StreamSnapshotSpec{
		Path: "s3://bkt/savepoints/old", Storage: &streamv1.Storage{S3: &streamv1.S3Storage{Bucket: "bkt"}}, ReclaimPolicy: streamv1.ReclaimDelete,
	}
}

func isCompleted(s *streamv1.StreamSnapshot) bool {
	return s != nil && s.Status.State == streamv1.SnapshotCompleted
}

func isGone(s *streamv1.StreamSnapshot) bool { return s == nil }
