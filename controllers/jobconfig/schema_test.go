// SPDX-License-Identifier: Apache-2.0

package jobconfig

import (
	"testing"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	crdvalidation "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/validation"
	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"sigs.k8s.io/yaml"

	"github.com/weir-stream/weir/config/crd"
)

// rulesOf returns the rules of a schema and of everything below it.
func rulesOf(s *structuralschema.Structural) apiextensions.ValidationRules {
	if s == nil {
		return nil
	}
	var rules apiextensions.ValidationRules
	for _, r := range s.XValidations {
		rules = append(rules, apiextensions.ValidationRule{Rule: r.Rule, Message: r.Message})
	}
	rules = append(rules, rulesOf(s.Items)...)
	for name := range s.Properties {
		rules = append(rules, rulesOf(new(s.Properties[name]))...)
	}
	return rules
}

// TestDefinition_APIServerAccepts checks the definition as the API server does when it is applied, with the limits
// on the estimated cost of the rules.
func TestDefinition_APIServerAccepts(t *testing.T) {
	t.Parallel()
	var v1 apiextensionsv1.CustomResourceDefinition
	if err := yaml.UnmarshalStrict(crd.StreamJobs, &v1); err != nil {
		t.Fatal(err)
	}
	apiextensionsv1.SetDefaults_CustomResourceDefinition(&v1)
	apiextensionsv1.SetDefaults_CustomResourceDefinitionSpec(&v1.Spec)
	var internal apiextensions.CustomResourceDefinition
	if err := apiextensionsv1.Convert_v1_CustomResourceDefinition_To_apiextensions_CustomResourceDefinition(&v1, &internal, nil); err != nil {
		t.Fatal(err)
	}
	internal.Status.StoredVersions = []string{"v1alpha1"}
	for _, err := range crdvalidation.ValidateCustomResourceDefinition(t.Context(), &internal) {
		t.Error(err)
	}
}

// TestDefinition_Size keeps the definition small enough for client-side apply, which stores it in an annotation.
func TestDefinition_Size(t *testing.T) {
	t.Parallel()
	const limit = 200 << 10
	if size := len(crd.StreamJobs); size > limit {
		t.Errorf("the definition has %d bytes, want at most %d", size, limit)
	}
}
