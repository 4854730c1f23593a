// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kruntime "k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// GroupName is the API group of every kind of this package.
const GroupName = "stream.weir.dev"

var (
	// SchemeGroupVersion is the group and version of every kind of this package.
	SchemeGroupVersion = schema.GroupVersion{Group: GroupName, Version: "v1alpha1"}

	// SchemeBuilder collects the functions that add these types to a scheme.
	SchemeBuilder = kruntime.NewSchemeBuilder(addKnownTypes)

	// AddToScheme adds the types of this package to a scheme.
	AddToScheme = SchemeBuilder.AddToScheme
)

func addKnownTypes(scheme *kruntime.Scheme) error {
	scheme.AddKnownTypes(SchemeGroupVersion, &StreamJob{}, &StreamJobList{}, &StreamSnapshot{}, &StreamSnapshotList{})
	metav1.AddToGroupVersion(scheme, SchemeGroupVersion)
	return nil
}
