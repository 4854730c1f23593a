// SPDX-License-Identifier: Apache-2.0

package jobconfig

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	kruntime "k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/json"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
)

// maxSize is the most that the API server takes for one object.
const maxSize = 3 << 20

// InvalidError says why a StreamJob or StreamSnapshot is refused.
type InvalidError struct {
	// Kind is what was to be read; empty means StreamJob.
	Kind string
	// Name is the name of the object, as far as it is known.
	Name string
	// Problems are the messages, each with the path of the field where there is one.
	Problems []string
	// Details name what the messages speak of in general, such as the operator whose input does not exist. The API
	// server has no such details.
	Details []string
}

// Error lists the problems, one a line when there are several, and then the details.
func (e *InvalidError) Error() string {
	head := cmp.Or(e.Kind, streamJob) + " is invalid:"
	if e.Name != "" {
		head = fmt.Sprintf("%s %q is invalid:", cmp.Or(e.Kind, streamJob), e.Name)
	}
	if len(e.Problems) == 1 && len(e.Details) == 0 {
		return head + " " + e.Problems[0]
	}
	return strings.Join(slices.Concat([]string{head}, e.Problems, e.Details), "\n- ")
}

// The kinds that can be checked.
const (
	streamJob      = "StreamJob"
	streamSnapshot = "StreamSnapshot"
)

// KindOf returns the kind that a file says it holds, YAML or JSON; empty if it says none, or can't be read.
func KindOf(data []byte) string {
	var object metav1.TypeMeta
	if len(data) > maxSize || yaml.Unmarshal(data, &object) != nil {
		return ""
	}
	return object.Kind
}

// Validate reads one StreamJob from YAML or JSON and checks it as the API server does, with the same messages: no
// unknown or repeated fields, the schema, the rules; then what Check adds. An error is an *InvalidError that holds
// every problem found, unless the YAML itself cannot be read.
//
// A StreamJob without a namespace gets "default", and a status is ignored.
func Validate(ctx context.Context, data []byte) (*streamv1.StreamJob, error) {
	object, err := decode(data, streamJob)
	if err != nil {
		return nil, err
	}
	job, err := validateObject(ctx, object)
	if err != nil {
		return nil, err
	}
	if found := Check(job); len(found) > 0 {
		return nil, &InvalidError{Name: job.Name, Problems: found}
	}
	return job, nil
}

// ValidateSnapshot is Validate for a StreamSnapshot that is created: what must not change later is not looked at.
func ValidateSnapshot(ctx context.Context, data []byte) (*streamv1.StreamSnapshot, error) {
	object, err := decode(data, streamSnapshot)
	if err != nil {
		return nil, err
	}
	name := (&unstructured.Unstructured{Object: object}).GetName()
	refused := func(problems ...string) error {
		return &InvalidError{Kind: streamSnapshot, Name: name, Problems: problems}
	}
	found, err := checkObject(ctx, object, streamSnapshot, streamSnapshots)
	if err != nil {
		return nil, err
	}
	if len(found) > 0 {
		return nil, refused(found...)
	}
	var snapshot streamv1.StreamSnapshot
	if err := kruntime.DefaultUnstructuredConverter.FromUnstructured(object, &snapshot); err != nil {
		return nil, refused(err.Error())
	}
	return &snapshot, nil
}

// checkObject returns what the API server would say against an object of a kind, which it changes as that would. The error is that of the definition, or an
// *InvalidError if the object is of another kind, or has fields that the kind doesn't know.
func checkObject(ctx context.Context, object map[string]any, kind string, definition func() (*schema, error)) ([]string, error) {
	u := unstructured.Unstructured{Object: object}
	refused := func(problems ...string) ([]string, error) {
		return nil, &InvalidError{Kind: kind, Name: u.GetName(), Problems: problems}
	}
	if found := checkTypeMeta(&u, kind); len(found) > 0 {
		return refused(found...)
	}
	s, err := definition()
	if err != nil {
		return nil, err
	}
	setNamespace(object)
	unknown, err := s.prune(object)
	if err != nil {
		return refused(err.Error())
	}
	if len(unknown) > 0 {
		return nil, &InvalidError{Kind: kind, Name: u.GetName(), Problems: unknownFields(unknown), Details: explainUnknown(s.structural, unknown)}
	}
	delete(object, "status") // as the API server does: status is not the user's to write
	s.setDefaults(object)
	return problems(s.validate(ctx, object)), nil
}

// validateObject checks a decoded StreamJob and turns it into its type.
func validateObject(ctx context.Context, object map[string]any) (*streamv1.StreamJob, error) {
	found, err := checkObject(ctx, object, streamJob, streamJobs)
	if err != nil {
		return nil, err
	}
	name := (&unstructured.Unstructured{Object: object}).GetName()
	var job streamv1.StreamJob
	err = kruntime.DefaultUnstructuredConverter.FromUnstructured(object, &job)
	switch {
	case len(found) > 0 && err == nil:
		return nil, &InvalidError{Name: name, Problems: found, Details: explainGraph(operatorsOf(&job))}
	case len(found) > 0:
		return nil, &InvalidError{Name: name, Problems: found, Details: explainTypes(found)}
	case err != nil:
		return nil, &InvalidError{Name: name, Problems: []string{err.Error()}}
	}
	return &job, nil
}

func unknownFields(paths []string) []string {
	out := make([]string, 0, len(paths))
	for _, p := range paths {
		out = append(out, fmt.Sprintf("strict decoding error: unknown field %q", p))
	}
	return out
}

func checkTypeMeta(u *unstructured.Unstructured, kind string) []string {
	var found []string
	if want := streamv1.SchemeGroupVersion.String(); u.GetAPIVersion() != want {
		found = append(found, fmt.Sprintf("apiVersion: Invalid value: %q: must be %s", u.GetAPIVersion(), want))
	}
	if u.GetKind() != kind {
		found = append(found, fmt.Sprintf("kind: Invalid value: %q: must be %s", u.GetKind(), kind))
	}
	return found
}

// setNamespace does what a client does for an object without one.
func setNamespace(object map[string]any) {
	meta, ok := object["metadata"].(map[string]any)
	if !ok {
		if object["metadata"] != nil {
			return
		}
		meta = map[string]any{}
		object["metadata"] = meta
	}
	if ns, ok := meta["namespace"]; !ok || ns == "" || ns == nil {
		meta["namespace"] = metav1.NamespaceDefault
	}
}

// decode reads the one document of a file.
func decode(data []byte, kind string) (map[string]any, error) {
	refused := func(problem string) (map[string]any, error) {
		return nil, &InvalidError{Kind: kind, Problems: []string{problem}}
	}
	if len(data) > maxSize {
		return refused(fmt.Sprintf("it has %d bytes, but an object may have at most %d", len(data), maxSize))
	}
	documents, err := countDocuments(data)
	if err != nil {
		return nil, err
	}
	if documents != 1 {
		return refused(fmt.Sprintf("the file must hold one %s, but it holds %d YAML documents", kind, documents))
	}
	asJSON, err := yaml.YAMLToJSONStrict(data)
	if err != nil {
		return refused("strict decoding error: " + oneLine(err))
	}
	var value any
	if err := json.Unmarshal(asJSON, &value); err != nil {
		return refused("reading JSON: " + oneLine(err))
	}
	object, ok := value.(map[string]any)
	if !ok {
		return refused("the file must hold a " + kind + ": a YAML mapping with apiVersion, kind, metadata and spec")
	}
	return object, nil
}

// countDocuments returns how many documents of a file hold more than comments.
func countDocuments(data []byte) (int, error) {
	reader := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(data)))
	count := 0
	for {
		document, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return count, nil
		}
		if err != nil {
			return 0, fmt.Errorf("splitting the file into YAML documents: %w", err)
		}
		if hasContent(document) {
			count++
		}
	}
}

func hasContent(document []byte) bool {
	for line := range bytes.Lines(document) {
		line = bytes.TrimSpace(line)
		if len(line) > 0 && line[0] != '#' && !bytes.Equal(line, []byte("---")) {
			return true
		}
	}
	return false
}

// oneLine joins the lines that the YAML library spreads an error over.
func oneLine(err error) string {
	return strings.Join(strings.Fields(err.Error()), " ")
}
