// SPDX-License-Identifier: Apache-2.0

package streamjob

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
)

func TestCacheOptions_KeepOnlyWhatBelongsToStreamJobs(t *testing.T) {
	o, err := CacheOptions([]string{"a", "b"})
	if err != nil {
		t.Fatal(err)
	}
	if len(o.DefaultNamespaces) != 2 || !o.ReaderFailOnMissingInformer || len(o.ByObject) != len(childTypes()) {
		t.Errorf("the options are %+v", o)
	}
	for kind, by := range o.ByObject {
		if _, secret := kind.(*corev1.Secret); secret {
			t.Error("secrets are cached")
		}
		if by.Label == nil || by.Label.Matches(labels.Set{"app": "x"}) || !by.Label.Matches(labels.Set{streamv1.LabelJob: "words", streamv1.LabelComponent: "worker"}) {
			t.Errorf("of %T those are cached that match %v", kind, by.Label)
		}
	}
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{ManagedFields: []metav1.ManagedFieldsEntry{{Manager: "x"}}}}
	if got, err := o.DefaultTransform(pod); err != nil || len(got.(*corev1.Pod).ManagedFields) != 0 {
		t.Errorf("an object is cached as %v, %v", got, err)
	}
	if all, err := CacheOptions(nil); err != nil || all.DefaultNamespaces != nil {
		t.Errorf("without namespaces the options are %+v, %v", all, err)
	}
}
