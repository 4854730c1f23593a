// SPDX-License-Identifier: Apache-2.0

package envtest

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/weir-stream/weir/controllers/jobconfig/rulestest"
)

// create has the API server go through all it does for a new StreamJob, without keeping it.
func create(t *testing.T, text string) error {
	t.Helper()
	var object map[string]any
	if err := yaml.Unmarshal([]byte(text), &object); err != nil {
		t.Fatal(err)
	}
	u := &unstructured.Unstructured{Object: object}
	u.SetNamespace(metav1.NamespaceDefault)
	return admin.Create(t.Context(), u, client.DryRunAll, client.FieldValidation(metav1.FieldValidationStrict))
}

// causes returns the messages for which the API server refused an object; it must have refused it as invalid.
func causes(t *testing.T, err error) []string {
	t.Helper()
	status, ok := errors.AsType[*apierrors.StatusError](err)
	if !ok || !apierrors.IsInvalid(err) {
		t.Fatalf("the API server said %v, want that the object is invalid", err)
	}
	var found []string
	for _, cause := range status.ErrStatus.Details.Causes {
		found = append(found, strings.TrimPrefix(cause.Field+": "+cause.Message, "<nil>: "))
	}
	return found
}

func TestAPI_Rules(t *testing.T) {
	t.Parallel()
	for name, tc := range rulestest.Cases() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, accepted := range tc.Accept {
				if err := create(t, accepted); err != nil {
					t.Errorf("refused:\n%s\n%v", accepted, err)
				}
			}
			if diff := cmp.Diff(tc.Want, causes(t, create(t, tc.Reject))); diff != "" {
				t.Errorf("messages for\n%s\n(-want +got):\n%s", tc.Reject, diff)
			}
		})
	}
}

// TestAPI_RulesGuardUpdates shows that an edit is checked like a new object, and what ran before stays as it was.
func TestAPI_RulesGuardUpdates(t *testing.T) {
	t.Parallel()
	job := makeJob(t, makeNamespace(t), "maxParallelism: 4", rulestest.Flow)
	before := job.ResourceVersion
	patch := client.RawPatch("application/merge-patch+json", []byte(`{"spec":{"parallelism":5}}`))
	want := []string{"spec.parallelism: Invalid value: parallelism must not be larger than maxParallelism"}
	if diff := cmp.Diff(want, causes(t, admin.Patch(t.Context(), job.DeepCopy(), patch))); diff != "" {
		t.Errorf("messages (-want +got):\n%s", diff)
	}
	if err := admin.Get(t.Context(), client.ObjectKeyFromObject(job), job); err != nil {
		t.Fatal(err)
	}
	if job.ResourceVersion != before {
		t.Error("the refused edit changed the object")
	}
}

func TestAPI_RefusesUnknownFields(t *testing.T) {
	t.Parallel()
	err := create(t, rulestest.WithSpec("paralelism: 2"))
	if !apierrors.IsBadRequest(err) || !strings.Contains(err.Error(), `unknown field "spec.paralelism"`) {
		t.Errorf("the API server said %v", err)
	}
}
