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

// TestDefinition_EveryFieldIsBoundedAndDescribed keeps the cost of rules bounded and the reference complete: texts
// have a largest length, lists a largest number of items and a type, numbers a range, and all fields a description.
func TestDefinition_EveryFieldIsBoundedAndDescribed(t *testing.T) {
	t.Parallel()
	s, err := streamJobs()
	if err != nil {
		t.Fatal(err)
	}
	spec := s.structural.Properties["spec"]
	if checked := checkField(t, "spec", &spec); checked < 100 {
		t.Errorf("checked only %d fields", checked)
	}
}

// checkField reports what a field and the fields below it lack, and returns how many they are.
func checkField(t *testing.T, path string, s *structuralschema.Structural) int {
	t.Helper()
	if s.Description == "" {
		t.Errorf("%s has no description", path)
	}
	if lacks := lacking(s); lacks != "" {
		t.Errorf("%s lacks %s", path, lacks)
	}
	checked := 1
	for name := range s.Properties {
		checked += checkField(t, path+"."+name, new(s.Properties[name]))
	}
	if s.Items != nil {
		items := *s.Items
		items.Description = "that of the list"
		checked += checkField(t, path+"[]", &items)
	}
	return checked
}

func lacking(s *structuralschema.Structural) string {
	v := s.ValueValidation
	if v == nil {
		v = &structuralschema.ValueValidation{}
	}
	switch {
	case s.Type == "string" && v.MaxLength == nil && len(v.Enum) == 0:
		return "a largest length"
	case s.Type == "integer" && (v.Minimum == nil || v.Maximum == nil):
		return "a range"
	case s.Type == "number":
		return "exactness: floating point numbers do not survive every client"
	case s.Type == "array" && v.MaxItems == nil:
		return "a largest number of items"
	case s.Type == "array" && s.XListType == nil:
		return "a list type"
	default:
		return ""
	}
}
