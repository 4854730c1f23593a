// SPDX-License-Identifier: Apache-2.0

package jobconfig

import (
	"bufio"
	"bytes"
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

// InvalidError says why a StreamJob is refused.
type InvalidError struct {
	// Name is the name of the StreamJob, as far as it is known.
	Name string
	// Problems are the messages, each with the path of the field where there is one.
	Problems []string
	// Details name what the messages speak of in general, such as the operator whose input does not exist. The API
	// server has no such details.
	Details []string
}

// Error lists the problems, one a line when there are several, and then the details.
func (e *InvalidError) Error() string {
	head := "StreamJob is invalid:"
	if e.Name != "" {
		head = fmt.Sprintf("StreamJob %q is invalid:", e.Name)
	}
	if len(e.Problems) == 1 && len(e.Details) == 0 {
		return head + " " + e.Problems[0]
	}
	return strings.Join(slices.Concat([]string{head}, e.Problems, e.Details), "\n- ")
}

// Validate reads one StreamJob from YAML or JSON and checks it as the API server does, with the same messages: no
// unknown or repeated fields, the schema, the rules; then what Check adds. An error is an *InvalidError that holds
// every problem found, unless the YAML itself cannot be read.
//
// A StreamJob without a namespace gets "default", and a status is ignored.
func Validate(ctx context.Context, data []byte) (*streamv1.StreamJob, error) {
	object, err := decode(data)
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

// validateObject checks a decoded StreamJob and turns it into its type.
func validateObject(ctx context.Context, object map[string]any) (*streamv1.StreamJob, error) {
	u := unstructured.Unstructured{Object: object}
	if found := checkTypeMeta(&u); len(found) > 0 {
		return nil, &InvalidError{Name: u.GetName(), Problems: found}
	}
	s, err := streamJobs()
	if err != nil {
		return nil, err
	}
	setNamespace(object)
	unknown, err := s.prune(object)
	if err != nil {
		return nil, &InvalidError{Name: u.GetName(), Problems: []string{err.Error()}}
	}
	if len(unknown) > 0 {
		return nil, &InvalidError{Name: u.GetName(), Problems: unknownFields(unknown)}
	}
	delete(object, "status") // as the API server does: status is not the user's to write
	s.setDefaults(object)
	errs := s.validate(ctx, object)
	var job streamv1.StreamJob
	err = kruntime.DefaultUnstructuredConverter.FromUnstructured(object, &job)
	switch {
	case len(errs) > 0 && err == nil:
		return nil, &InvalidError{Name: u.GetName(), Problems: problems(errs), Details: explainGraph(operatorsOf(&job))}
	case len(errs) > 0:
		found := problems(errs)
		return nil, &InvalidError{Name: u.GetName(), Problems: found, Details: explainTypes(found)}
	case err != nil:
		return nil, &InvalidError{Name: u.GetName(), Problems: []string{err.Error()}}
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

func checkTypeMeta(u *unstructured.Unstructured) []string {
	var found []string
	if want := streamv1.SchemeGroupVersion.String(); u.GetAPIVersion() != want {
		found = append(found, fmt.Sprintf("apiVersion: Invalid value: %q: must be %s", u.GetAPIVersion(), want))
	}
	if u.GetKind() != "StreamJob" {
		found = append(found, fmt.Sprintf("kind: Invalid value: %q: must be StreamJob", u.GetKind()))
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
func decode(data []byte) (map[string]any, error) {
	if len(data) > maxSize {
		return nil, &InvalidError{Problems: []string{fmt.Sprintf("it has %d bytes, but an object may have at most %d", len(data), maxSize)}}
	}
	documents, err := countDocuments(data)
	if err != nil {
		return nil, err
	}
	if documents != 1 {
		return nil, &InvalidError{Problems: []string{fmt.Sprintf("the file must hold one StreamJob, but it holds %d YAML documents", documents)}}
	}
	asJSON, err := yaml.YAMLToJSONStrict(data)
	if err != nil {
		return nil, &InvalidError{Problems: []string{"strict decoding error: " + oneLine(err)}}
	}
	var value any
	if err := json.Unmarshal(asJSON, &value); err != nil {
		return nil, &InvalidError{Problems: []string{"reading JSON: " + oneLine(err)}}
	}
	object, ok := value.(map[string]any)
	if !ok {
		return nil, &InvalidError{Problems: []string{"the file must hold a StreamJob: a YAML mapping with apiVersion, kind, metadata and spec"}}
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
