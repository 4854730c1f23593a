// SPDX-License-Identifier: Apache-2.0

package streamjob

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"
	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kruntime "k8s.io/apimachinery/pkg/runtime"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
	"github.com/weir-stream/weir/controllers/streamjob/certs"
	"github.com/weir-stream/weir/controllers/streamjob/plan"
	"github.com/weir-stream/weir/runtime/contract"
)

// marker stands for credentials: wherever it turns up, they would.
const marker = "weir-marker-AKIA5SECRET"

// secured returns a StreamJob with storage behind credentials and a template that uses a secret, and those secrets.
func secured() (*streamv1.StreamJob, []client.Object) {
	job := words()
	job.Spec.Checkpointing = &streamv1.Checkpointing{Interval: metav1.Duration{Duration: time.Second}}
	job.Spec.Storage = &streamv1.Storage{S3: &streamv1.S3Storage{Bucket: "weir", CredentialsSecretRef: &streamv1.SecretReference{Name: "store"}}}
	job.Spec.Workers = &streamv1.Workers{PodTemplate: &streamv1.PodTemplate{
		Volumes: []streamv1.PodVolume{{Name: "keys", Secret: &streamv1.ObjectReference{Name: "keys"}}},
		Containers: []streamv1.PodContainer{{
			Name: "worker",
			Env: []streamv1.EnvVar{{Name: "TOKEN", ValueFrom: &streamv1.EnvSource{
				SecretKeyRef: &streamv1.KeyReference{Name: "keys", Key: "token"},
			}}},
			EnvFrom: []streamv1.EnvFrom{{SecretRef: &streamv1.ObjectReference{Name: "keys"}}},
		}},
	}}
	secret := func(name, key string) client.Object {
		return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name}, Data: map[string][]byte{key: []byte(marker)}}
	}
	return job, []client.Object{job, secret("store", "AWS_SECRET_ACCESS_KEY"), secret("keys", "token")}
}

// through leads a job through its life with the real planner: started, running, edited, failing, deleted.
func (w *world) through(ctx context.Context, t *testing.T) {
	t.Helper()
	pass := func(n int) {
		for range n {
			w.clock.SetTime(w.clock.Now().Add(time.Second))
			if _, err := w.Reconcile(ctx, ctrl.Request{NamespacedName: wordsKey}); err != nil {
				t.Fatal(err)
			}
		}
	}
	pass(5)
	status := &contract.JobStatus{
		Name: "words", JobID: "a1", State: contract.JobRunning,
	}
	w.engines.report = &plan.Engine{Grant: 1, Status: status}
	pass(5)
	w.edit(t, func(s *streamv1.StreamJobSpec) { s.Parallelism = 7; s.Workers.Replicas = 1 })
	pass(5)
	status.State = contract.JobFailed
	w.refuse = func(request string) error {
		if strings.HasPrefix(request, "apply") {
			return errRefused
		}
		return nil
	}
	for range 3 {
		w.clock.SetTime(w.clock.Now().Add(time.Second))
		_, _ = w.Reconcile(ctx, ctrl.Request{NamespacedName: wordsKey})
	}
	w.refuse = nil
	pass(3)
	if err := w.Delete(t.Context(), w.job(t)); err != nil {
		t.Fatal(err)
	}
	pass(3)
}

func TestOperator_ReadsNoSecretButItsOwn(t *testing.T) {
	job, objects := secured()
	w := newWorld(t, objects...)
	forbidden := func(o any) {
		switch o.(type) {
		case *corev1.Secret, *corev1.SecretList:
			t.Errorf("secrets are read through the cache, which would list them all: %T", o)
		}
	}
	w.Client = interceptor.NewClient(w.Client.(client.WithWatch), interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, o client.Object, opts ...client.GetOption) error {
			forbidden(o)
			return c.Get(ctx, key, o, opts...)
		},
		List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, opts ...client.ListOption) error {
			forbidden(list)
			return c.List(ctx, list, opts...)
		},
	})
	w.through(t.Context(), t)
	read := map[string]bool{}
	for _, request := range w.asked() {
		if name, ok := strings.CutPrefix(request, "get Secret "); ok {
			read[name] = true
		}
		if strings.HasPrefix(request, "list") {
			t.Errorf("the operator asked past the cache for %s", request)
		}
	}
	var names []string
	for name := range read {
		names = append(names, name)
	}
	slices.Sort(names)
	want := certs.Names(job.Name)
	slices.Sort(want)
	if diff := cmp.Diff(want, names); diff != "" {
		t.Errorf("secrets that were read (-its own +read):\n%s", diff)
	}
}

// written collects everything that the operator writes anywhere: objects, their status, events and its log. Secrets are kept apart.
type written struct{ others, secrets bytes.Buffer }

func (w *written) add(o any) {
	text, err := json.Marshal(o)
	if err != nil {
		panic(err) // objects of the API can be written
	}
	to := &w.others
	if strings.Contains(string(text), `"kind":"Secret"`) {
		to = &w.secrets
	}
	to.Write(append(text, '\n'))
}

func TestOperator_WritesCredentialsNowhere(t *testing.T) {
	_, objects := secured()
	w := newWorld(t, objects...)
	var out written
	w.Client = interceptor.NewClient(w.Client.(client.WithWatch), interceptor.Funcs{
		Apply: func(ctx context.Context, c client.WithWatch, o kruntime.ApplyConfiguration, opts ...client.ApplyOption) error {
			out.add(o)
			return c.Apply(ctx, o, opts...)
		},
		Create: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.CreateOption) error {
			out.add(o)
			return c.Create(ctx, o, opts...)
		},
		Patch: func(ctx context.Context, c client.WithWatch, o client.Object, p client.Patch, opts ...client.PatchOption) error {
			out.add(o)
			return c.Patch(ctx, o, p, opts...)
		},
		SubResourcePatch: func(ctx context.Context, c client.Client, sub string, o client.Object, p client.Patch, opts ...client.SubResourcePatchOption) error {
			out.add(o)
			return c.SubResource(sub).Patch(ctx, o, p, opts...)
		},
	})
	ctx := logr.NewContext(t.Context(), funcr.NewJSON(func(line string) { out.others.WriteString(line + "\n") }, funcr.Options{Verbosity: 4}))
	w.through(ctx, t)
	for len(w.recorder.Events) > 0 {
		out.others.WriteString(<-w.recorder.Events + "\n")
	}
	for _, list := range []client.ObjectList{&corev1.ConfigMapList{}, &corev1.PodList{}, &appsv1.DeploymentList{}, &appsv1.StatefulSetList{}, &streamv1.StreamJobList{}} {
		if err := w.List(t.Context(), list); err != nil {
			t.Fatal(err)
		}
		out.add(list)
	}
	text := out.others.String()
	for _, want := range []string{"words-1", `"msg":`, "Deployment", "StatefulSet", "ConfigMap", "store", "Normal "} {
		if !strings.Contains(text, want) {
			t.Fatalf("what was collected lacks %q: it would show nothing", want)
		}
	}
	all := text + out.secrets.String()
	for _, form := range []string{marker, base64.StdEncoding.EncodeToString([]byte(marker))} {
		if i := strings.Index(all, form); i >= 0 {
			t.Errorf("credentials were written: ...%s...", all[max(0, i-100):min(len(all), i+100)])
		}
	}
	if !strings.Contains(out.secrets.String(), "ca.key") {
		t.Fatal("no keys were issued: it would show nothing")
	}
	for _, key := range []string{"PRIVATE KEY", base64.StdEncoding.EncodeToString([]byte("-----BEGIN PRIVATE KEY"))[:24]} {
		if strings.Contains(text, key) {
			t.Error("a private key was written outside of secrets")
		}
	}
}
