// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	"testing"

	kruntime "k8s.io/apimachinery/pkg/runtime"
)

func TestAddToScheme(t *testing.T) {
	t.Parallel()
	scheme := kruntime.NewScheme()
	if err := AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	for _, kind := range []string{"StreamJob", "StreamJobList", "StreamSnapshot", "StreamSnapshotList"} {
		object, err := scheme.New(SchemeGroupVersion.WithKind(kind))
		if err != nil {
			t.Fatal(err)
		}
		if got := object.DeepCopyObject(); got == object {
			t.Errorf("deep copy of %s is the object itself", kind)
		}
	}
}
