// SPDX-License-Identifier: Apache-2.0

package streamjob

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kruntime "k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	networkingv1ac "k8s.io/client-go/applyconfigurations/networking/v1"
	"k8s.io/client-go/tools/events"
	testclock "k8s.io/utils/clock/testing"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
	"github.com/weir-stream/weir/controllers/streamjob/engine"
	"github.com/weir-stream/weir/controllers/streamjob/plan"
	"github.com/weir-stream/weir/controllers/streamjob/resources"
	"github.com/weir-stream/weir/runtime/contract"
)

var wordsKey = types.NamespacedName{Namespace: "ns", Name: "words"}

// engines plays what the operator knows of coordinators.
type engines struct {
	targets map[types.NamespacedName]engine.Target
	report  *plan.Engine
	// candidate is what is watched beside the job.
	candidate *engine.Target
	unheard   bool
	commands  []string
	refuse    error
}

func (e *engines) WatchCandidate(_ types.NamespacedName, t *engine.Target) { e.candidate = t }
func (e *engines) Candidate(types.NamespacedName) *plan.Engine             { return nil }
func (e *engines) Watch(key types.NamespacedName, t engine.Target)         { e.targets[key] = t }
func (e *engines) Forget(key types.NamespacedName)                         { delete(e.targets, key) }
func (e *engines) Changes() <-chan engine.Change                           { return nil }

func (e *engines) Report(key types.NamespacedName) *plan.Engine {
	t, ok := e.targets[key]
	if !ok || e.unheard {
		return nil
	}
	if e.report == nil {
		return &plan.Engine{Grant: t.Grant}
	}
	return e.report
}

func (e *engines) Client(types.NamespacedName) (engine.Commands, error) { return e, nil }

func (e *engines) note(what string) (*contract.Operation, error) {
	e.commands = append(e.commands, what)
	return &contract.Operation{}, e.refuse
}

func (e *engines) Stop(_ context.Context, r contract.StopRequest) (*contract.Operation, error) {
	return e.note("stop " + r.OperationID)
}

func (e *engines) Savepoint(_ context.Context, r contract.SavepointRequest) (*contract.Operation, error) {
	return e.note("savepoint " + r.OperationID)
}

func (e *engines) Checkpoint(_ context.Context, r contract.CheckpointRequest) (*contract.Operation, error) {
	return e.note("checkpoint " + r.OperationID)
}

func (e *engines) Cancel(_ context.Context, r contract.CancelRequest) (*contract.Operation, error) {
	return e.note("cancel " + r.OperationID)
}

func (e *engines) SetPolicy(_ context.Context, p contract.Policy) (*contract.Policy, error) {
	_, err := e.note("policy " + p.Revision)
	return &p, err
}

func (e *engines) Activate(_ context.Context, r contract.ActivateRequest) (*contract.Activation, error) {
	_, err := e.note(fmt.Sprintf("activate %d", r.Grant))
	return &contract.Activation{Grant: r.Grant}, err
}

// world is a cluster, an operator and a script of what it plans.
type world struct {
	client.WithWatch
	*Reconciler
	clock    *testclock.FakePassiveClock
	engines  *engines
	recorder *events.FakeRecorder

	mu sync.Mutex
	// requests are those that would have gone to the API server: writes, and reads that no cache answers.
	requests []string
	// refuse refuses requests.
	refuse func(request string) error
}

func newWorld(t *testing.T, objects ...client.Object) *world {
	t.Helper()
	scheme := kruntime.NewScheme()
	for _, add := range []func(*kruntime.Scheme) error{
		corev1.AddToScheme, appsv1.AddToScheme, policyv1.AddToScheme, networkingv1.AddToScheme, streamv1.AddToScheme,
	} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	w := &world{
		clock:   testclock.NewFakePassiveClock(time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)),
		engines: &engines{targets: map[types.NamespacedName]engine.Target{}}, recorder: events.NewFakeRecorder(100),
	}
	w.WithWatch = fake.NewClientBuilder().WithScheme(scheme).WithObjects(objects...).WithStatusSubresource(&streamv1.StreamJob{}).Build()
	w.Reconciler = &Reconciler{
		Client: interceptor.NewClient(w.WithWatch, w.counting()), APIReader: interceptor.NewClient(w.WithWatch, w.countingReads()),
		Recorder: w.recorder, Clock: w.clock, Engines: w.engines, Settings: resources.Settings{EngineImage: "weir:v1"},
	}
	w.ensureDefaults()
	return w
}

// request counts one, and refuses it if it is to be.
func (w *world) request(verb string, o any) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	name := fmt.Sprintf("%s %T", verb, o)
	switch o := o.(type) {
	case client.Object:
		name = fmt.Sprintf("%s %s %s", verb, kindOf(o), o.GetName())
	case interface {
		GetName() *string
		GetKind() *string
	}:
		name = fmt.Sprintf("%s %s %s", verb, *o.GetKind(), *o.GetName())
	}
	w.requests = append(w.requests, name)
	if w.refuse != nil {
		return w.refuse(name)
	}
	return nil
}

// asked returns the requests since the last call.
func (w *world) asked() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	r := w.requests
	w.requests = nil
	return r
}

func (w *world) counting() interceptor.Funcs {
	return interceptor.Funcs{
		Apply: func(ctx context.Context, c client.WithWatch, o kruntime.ApplyConfiguration, opts ...client.ApplyOption) error {
			var applying client.ApplyOptions
			applying.ApplyOptions(opts)
			if len(applying.DryRun) > 0 { // the fake client makes it
				return w.request("try", o)
			}
			if err := w.request("apply", o); err != nil {
				return err
			}
			if policy, ok := o.(*networkingv1ac.NetworkPolicyApplyConfiguration); ok { // the fake client can't merge these
				return createPolicy(ctx, c, policy)
			}
			return c.Apply(ctx, o, opts...)
		},
		Create: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.CreateOption) error {
			if err := w.request("create", o); err != nil {
				return err
			}
			return c.Create(ctx, o, opts...)
		},
		Patch: func(ctx context.Context, c client.WithWatch, o client.Object, p client.Patch, opts ...client.PatchOption) error {
			if err := w.request("patch", o); err != nil {
				return err
			}
			return c.Patch(ctx, o, p, opts...)
		},
		Delete: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.DeleteOption) error {
			if err := w.request("delete", o); err != nil {
				return err
			}
			return c.Delete(ctx, o, opts...)
		},
		SubResourcePatch: func(ctx context.Context, c client.Client, sub string, o client.Object, p client.Patch, opts ...client.SubResourcePatchOption) error {
			if err := w.request("patch "+sub, o); err != nil {
				return err
			}
			return c.SubResource(sub).Patch(ctx, o, p, opts...)
		},
	}
}

func createPolicy(ctx context.Context, c client.Client, config *networkingv1ac.NetworkPolicyApplyConfiguration) error {
	policy := &networkingv1.NetworkPolicy{}
	if err := convert(config, policy); err != nil {
		return err
	}
	if err := c.Create(ctx, policy); err != nil {
		return err
	}
	config.WithResourceVersion(policy.ResourceVersion).WithUID(policy.UID)
	return nil
}

func (w *world) countingReads() interceptor.Funcs {
	return interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, o client.Object, opts ...client.GetOption) error {
			o.SetName(key.Name)
			if err := w.request("get", o); err != nil {
				return err
			}
			return c.Get(ctx, key, o, opts...)
		},
	}
}

// pass makes one pass and fails the test when it fails.
func (w *world) pass(t *testing.T) ctrl.Result {
	t.Helper()
	result, err := w.Reconcile(t.Context(), ctrl.Request{NamespacedName: wordsKey})
	if err != nil {
		t.Fatal(err)
	}
	return result
}

// job reads the StreamJob.
func (w *world) job(t *testing.T) *streamv1.StreamJob {
	t.Helper()
	job := &streamv1.StreamJob{}
	if err := w.Get(t.Context(), wordsKey, job); err != nil {
		t.Fatal(err)
	}
	return job
}

// plans makes every pass carry out the actions, and write the status that change makes of the one before.
func (w *world) plans(change func(*streamv1.StreamJobStatus), actions ...plan.Action) {
	w.next = func(o plan.Observation, _ time.Time) plan.Plan {
		p := plan.Plan{Actions: actions, Status: *o.Job.Status.DeepCopy()}
		if change != nil {
			change(&p.Status)
		}
		return p
	}
}

// words returns a StreamJob.
func words() *streamv1.StreamJob {
	return &streamv1.StreamJob{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: wordsKey.Namespace, Name: wordsKey.Name, UID: "11111111-2222-3333-4444-555555555555", Generation: 1,
			Finalizers: []string{streamv1.Finalizer},
		},
		Spec: streamv1.StreamJobSpec{
			Dataflow: &streamv1.Dataflow{Operators: []streamv1.Operator{
				{Name: "numbers", Generator: &streamv1.GeneratorSource{}},
				{Name: "out", Inputs: []streamv1.OperatorName{"numbers"}, Log: &streamv1.LogSink{}},
			}},
			Parallelism: 2,
		},
	}
}

// deployed returns a StreamJob whose grant 1 is written down.
func deployed() *streamv1.StreamJob {
	job := words()
	job.Status = streamv1.StreamJobStatus{Grant: 1, Deployment: &streamv1.DeploymentReport{Grant: 1, Revision: "r", Generation: 1}}
	return job
}
