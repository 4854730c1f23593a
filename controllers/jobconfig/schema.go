// SPDX-License-Identifier: Apache-2.0

package jobconfig

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/listtype"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/objectmeta"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"sigs.k8s.io/yaml"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
	"github.com/weir-stream/weir/config/crd"
)

// schema is the compiled definition of one kind. It is safe for concurrent use.
type schema struct {
	structural *structuralschema.Structural
	fields     validation.SchemaValidator
	rules      *cel.Validator
}

// streamJobs and streamSnapshots compile the definitions once.
var (
	streamJobs      = sync.OnceValues(func() (*schema, error) { return compiled(streamJob, crd.StreamJobs) })
	streamSnapshots = sync.OnceValues(func() (*schema, error) { return compiled(streamSnapshot, crd.StreamSnapshots) })
)

func compiled(kind string, definition []byte) (*schema, error) {
	s, err := compile(definition, streamv1.SchemeGroupVersion.Version)
	if err != nil {
		return nil, fmt.Errorf("compiling the definition of %s: %w", kind, err)
	}
	return s, nil
}

// compile reads a custom resource definition and compiles the schema and rules of one of its versions.
func compile(definition []byte, version string) (*schema, error) {
	props, err := versionSchema(definition, version)
	if err != nil {
		return nil, err
	}
	var internal apiextensions.JSONSchemaProps
	if err := apiextensionsv1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(props, &internal, nil); err != nil {
		return nil, fmt.Errorf("converting the schema: %w", err)
	}
	structural, err := structuralschema.NewStructural(&internal)
	if err != nil {
		return nil, fmt.Errorf("reading the schema: %w", err)
	}
	fields, _, err := validation.NewSchemaValidator(&internal)
	if err != nil {
		return nil, fmt.Errorf("compiling the schema: %w", err)
	}
	return &schema{
		structural: structural,
		fields:     fields,
		rules:      cel.NewValidator(structural, true, celconfig.PerCallLimit),
	}, nil
}

func versionSchema(definition []byte, version string) (*apiextensionsv1.JSONSchemaProps, error) {
	var d apiextensionsv1.CustomResourceDefinition
	if err := yaml.UnmarshalStrict(definition, &d); err != nil {
		return nil, fmt.Errorf("decoding the definition: %w", err)
	}
	for i := range d.Spec.Versions {
		if v := &d.Spec.Versions[i]; v.Name == version && v.Schema != nil {
			return v.Schema.OpenAPIV3Schema, nil
		}
	}
	return nil, fmt.Errorf("the definition has no schema for version %s", version)
}

// prune removes the fields that the schema does not know, in place, and returns their paths. It also removes nulls,
// which mean the same as leaving the field out.
func (s *schema) prune(object map[string]any) ([]string, error) {
	meta, found, unknown, err := objectmeta.GetObjectMetaWithOptions(object, objectmeta.ObjectMetaOptions{ReturnUnknownFieldPaths: true})
	if err != nil {
		return nil, fmt.Errorf("reading metadata: %w", err)
	}
	opts := structuralschema.UnknownFieldPathOptions{TrackUnknownFieldPaths: true}
	unknown = append(unknown, pruning.PruneWithOptions(object, s.structural, true, opts)...)
	defaulting.PruneNonNullableNullsWithoutDefaults(object, s.structural)
	if found {
		if err := objectmeta.SetObjectMeta(object, meta); err != nil {
			return nil, fmt.Errorf("writing metadata: %w", err)
		}
	}
	return unknown, nil
}

// setDefaults sets the fields that are unset and have a default, in place.
func (s *schema) setDefaults(object map[string]any) {
	defaulting.Default(object, s.structural)
}

// validate checks an object in the order of the API server: metadata, schema, lists, and if these leave the object
// readable, the rules.
func (s *schema) validate(ctx context.Context, object map[string]any) field.ErrorList {
	var errs field.ErrorList
	meta, _, err := objectmeta.GetObjectMeta(object, false)
	if err != nil {
		return field.ErrorList{field.Invalid(field.NewPath("metadata"), nil, err.Error())}
	}
	if meta != nil {
		errs = append(errs, apivalidation.ValidateObjectMeta(meta, true, apivalidation.NameIsDNSSubdomain, field.NewPath("metadata"))...)
	}
	errs = append(errs, validation.ValidateCustomResource(nil, object, s.fields)...)
	errs = append(errs, listtype.ValidateListSetsAndMaps(nil, s.structural, object)...)
	if blocksRules(errs) {
		return append(errs, field.Invalid(nil, nil,
			"some validation rules were not checked because the object was invalid; correct the existing errors to complete validation"))
	}
	ruleErrs, _ := s.rules.Validate(ctx, nil, s.structural, object, nil, celconfig.RuntimeCELCostBudget)
	return append(errs, ruleErrs...)
}

// blocksRules says whether errors make an object one that rules cannot be evaluated on.
func blocksRules(errs field.ErrorList) bool {
	for _, e := range errs {
		switch e.Type {
		case field.ErrorTypeNotSupported, field.ErrorTypeRequired, field.ErrorTypeTooLong,
			field.ErrorTypeTooMany, field.ErrorTypeTypeInvalid:
			return true
		default:
		}
	}
	return false
}

// problems returns the message of each error, as the API server shows it.
func problems(errs field.ErrorList) []string {
	out := make([]string, 0, len(errs))
	for _, e := range errs {
		out = append(out, strings.TrimPrefix(e.Error(), "<nil>: "))
	}
	return out
}
