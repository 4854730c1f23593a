// SPDX-License-Identifier: Apache-2.0

package jobconfig

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apiextensions-apiserver/pkg/registry/customresource"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	kruntime "k8s.io/apimachinery/pkg/runtime"
	kschema "k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/uuid"
	genericapirequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
	"github.com/weir-stream/weir/controllers/jobconfig/rulestest"
)

// TestValidate_SaysWhatTheAPIServerSays puts every refused StreamJob of the tables through the API server's own code
// for creating a custom resource and compares the messages.
func TestValidate_SaysWhatTheAPIServerSays(t *testing.T) {
	t.Parallel()
	for name, file := range refusedFiles() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			want := createProblems(t, file)
			if diff := cmp.Diff(want, problemsOf(t, file)); diff != "" {
				t.Errorf("messages (-API server +Validate) for\n%s\n%s", file, diff)
			}
		})
	}
}

func refusedFiles() map[string]string {
	files := map[string]string{
		"several problems": rulestest.WithSpec("parallelism: 9", "maxParallelism: 4", "checkpointing: {interval: 1ms, timeout: 1ms}"),
		"name too long":    strings.Replace(rulestest.WithSpec(), "name: j", "name: "+strings.Repeat("j", 41), 1),
		"wrong type":       rulestest.WithSpec("parallelism: two"),
		"wrong enum":       rulestest.WithSpec("checkpointing: {interval: 10s, mode: exactlyOnce}"),
		"no spec":          rulestest.Head,
		"duplicate":        rulestest.WithOperators(rulestest.In, rulestest.In, rulestest.Out),
		"pattern":          rulestest.WithSpec("checkpointing: {interval: 10 s}"),
		"bad label":        strings.Replace(rulestest.WithSpec(), "name: j", "name: j, labels: {'a b': c}", 1),
		"too many":         rulestest.WithOperators(rulestest.In, "{name: out, inputs: ["+strings.Repeat("in, ", 17)+"in], log: {}}"),
		"duration range":   rulestest.WithSpec("checkpointing: {interval: 9999999999h}"),
	}
	for name, tc := range rulestest.Cases() {
		files[name] = tc.Reject
	}
	return files
}

// createProblems returns what the API server says when the StreamJob of a file is created; it must refuse it.
func createProblems(t *testing.T, file string) []string {
	t.Helper()
	s, err := streamJobs()
	if err != nil {
		t.Fatal(err)
	}
	object, err := decode([]byte(file), streamJob)
	if err != nil {
		t.Fatal(err)
	}
	setNamespace(object)
	u := &unstructured.Unstructured{Object: object}
	u.SetUID(uuid.NewUUID())
	u.SetCreationTimestamp(metav1.NewTime(time.Unix(1, 0)))
	kind := streamv1.SchemeGroupVersion.WithKind("StreamJob")
	strategy := customresource.NewStrategy(oneKind(kind), true, kind, s.fields, nil, s.structural, nil, nil, nil)
	err = rest.BeforeCreate(strategy, genericapirequest.WithNamespace(t.Context(), u.GetNamespace()), u)
	status, ok := errors.AsType[*apierrors.StatusError](err)
	if !ok || !apierrors.IsInvalid(err) {
		t.Fatalf("creating the object returned %v, want that it is invalid:\n%s", err, file)
	}
	var found []string
	for _, cause := range status.ErrStatus.Details.Causes {
		found = append(found, strings.TrimPrefix(cause.Field+": "+cause.Message, "<nil>: "))
	}
	return found
}

// oneKind is the typer of a server that knows one kind.
type oneKind kschema.GroupVersionKind

func (k oneKind) ObjectKinds(kruntime.Object) ([]kschema.GroupVersionKind, bool, error) {
	return []kschema.GroupVersionKind{kschema.GroupVersionKind(k)}, false, nil
}

func (k oneKind) Recognizes(gvk kschema.GroupVersionKind) bool {
	return gvk == kschema.GroupVersionKind(k)
}
