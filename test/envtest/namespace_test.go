// SPDX-License-Identifier: Apache-2.0

package envtest

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/yaml"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
)

// makeNamespace makes a namespace for one test. It takes only pods that pass the restricted pod security standard.
func makeNamespace(t *testing.T) string {
	t.Helper()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		GenerateName: "t-",
		Labels:       map[string]string{"pod-security.kubernetes.io/enforce": "restricted"},
	}}
	if err := admin.Create(t.Context(), ns); err != nil {
		t.Fatal(err)
	}
	return ns.Name
}

// readJob reads a StreamJob from YAML.
func readJob(t *testing.T, text string) *streamv1.StreamJob {
	t.Helper()
	var job streamv1.StreamJob
	if err := yaml.UnmarshalStrict([]byte(text), &job); err != nil {
		t.Fatal(err)
	}
	return &job
}

// makeJob creates the StreamJob j from the fields of its spec, one a line.
func makeJob(t *testing.T, namespace string, fields ...string) *streamv1.StreamJob {
	t.Helper()
	return makeNamed(t, types.NamespacedName{Namespace: namespace, Name: "j"}, fields...)
}

// makeNamed creates a StreamJob from the fields of its spec, one a line.
func makeNamed(t *testing.T, key types.NamespacedName, fields ...string) *streamv1.StreamJob {
	t.Helper()
	job := readJob(t, "apiVersion: stream.weir.dev/v1alpha1\nkind: StreamJob\nmetadata: {}\nspec:\n  "+strings.Join(fields, "\n  ")+"\n")
	job.Namespace, job.Name = key.Namespace, key.Name
	if err := admin.Create(t.Context(), job); err != nil {
		t.Fatal(err)
	}
	return job
}
