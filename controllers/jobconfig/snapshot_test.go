// SPDX-License-Identifier: Apache-2.0

package jobconfig

import (
	"errors"
	"os"
	"strings"
	"testing"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
)

func snapshotText(name, spec string) []byte {
	return []byte("apiVersion: stream.weir.dev/v1alpha1\nkind: StreamSnapshot\nmetadata: {name: " + name + "}\nspec: {" + spec + "}\n")
}

func TestValidateSnapshot_TakesWhatTheAPIServerTakes(t *testing.T) {
	tests := map[string]string{
		"of a job":           "jobRef: {name: words}, target: manual/before, timeout: 5m, reclaimPolicy: Delete",
		"adopted":            `path: "s3://bkt/sp/one", storage: {s3: {bucket: bkt}}`,
		"adopted from a job": `jobRef: {name: words}, path: "s3://bkt/sp/one"`,
		"on a volume":        "path: /data/sp, storage: {volume: {claimName: c, path: /data}}",
	}
	for name, spec := range tests {
		t.Run(name, func(t *testing.T) {
			s, err := ValidateSnapshot(t.Context(), snapshotText("before", spec))
			if err != nil {
				t.Fatal(err)
			}
			if s.Name != "before" || s.Namespace != "default" {
				t.Errorf("it is %s/%s", s.Namespace, s.Name)
			}
		})
	}
	s, err := ValidateSnapshot(t.Context(), append(snapshotText("before", tests["of a job"]), "status: {state: Completed}\n"...))
	if err != nil || s.Status.State != "" || s.Spec.ReclaimPolicy != streamv1.ReclaimDelete {
		t.Errorf("with a status, which is nobody's to write: %+v, %v", s, err)
	}
	sample, err := os.ReadFile("../../config/samples/snapshot.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ValidateSnapshot(t.Context(), sample); err != nil {
		t.Errorf("the sample: %v", err)
	}
}

// Each rule of the definition that is about a new object has a case here.
func TestValidateSnapshot_RefusesWhatTheAPIServerRefuses(t *testing.T) {
	tests := map[string]struct {
		text []byte
		want string
	}{
		"neither job nor path":    {snapshotText("a", "reclaimPolicy: Delete"), "spec: Invalid value: set jobRef to take a savepoint of a job, or path to adopt a snapshot that exists"},
		"path without storage":    {snapshotText("a", `path: "s3://b/x"`), "spec.storage: Invalid value: a path needs to know its storage"},
		"storage without path":    {snapshotText("a", "jobRef: {name: words}, storage: {s3: {bucket: bkt}}"), "storage is for path"},
		"path with target":        {snapshotText("a", `jobRef: {name: words}, path: "s3://b/x", target: t`), "spec.target: Invalid value: target is for a savepoint that is taken"},
		"volume without claim":    {snapshotText("a", "path: /data/sp, storage: {volume: {path: /data}}"), "spec.storage.volume.claimName"},
		"target that leads out":   {snapshotText("a", "jobRef: {name: words}, target: a/../b"), "spec.target: Invalid value"},
		"timeout":                 {snapshotText("a", "jobRef: {name: words}, timeout: 10ms"), "timeout must be at least 1s"},
		"long name":               {snapshotText(strings.Repeat("a", 64), "jobRef: {name: words}"), "metadata.name must have at most 63 characters"},
		"unknown field":           {snapshotText("a", "jobref: {name: words}"), `unknown field "spec.jobref"`},
		"unknown policy":          {snapshotText("a", "jobRef: {name: words}, reclaimPolicy: Keep"), "spec.reclaimPolicy: Unsupported value"},
		"another kind":            {[]byte("apiVersion: stream.weir.dev/v1alpha1\nkind: StreamJob\nmetadata: {name: a}\n"), "must be StreamSnapshot"},
		"two documents":           {append(append(snapshotText("a", "jobRef: {name: w}"), "---\n"...), snapshotText("b", "jobRef: {name: w}")...), "must hold one StreamSnapshot, but it holds 2"},
		"no YAML":                 {[]byte("a: [b"), "strict decoding error"},
		"a list":                  {[]byte("[]"), "the file must hold a StreamSnapshot"},
		"a field that is doubled": {[]byte("kind: StreamSnapshot\nkind: StreamSnapshot\n"), "strict decoding error"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := ValidateSnapshot(t.Context(), tc.text)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
			if invalid, ok := errors.AsType[*InvalidError](err); !ok || !strings.HasPrefix(invalid.Error(), "StreamSnapshot") {
				t.Errorf("it is no refusal of a StreamSnapshot: %v", err)
			}
		})
	}
}

func TestKindOf_IsWhatTheFileSays(t *testing.T) {
	for text, want := range map[string]string{
		string(snapshotText("a", "")): "StreamSnapshot", `{"kind": "StreamJob"}`: "StreamJob", "a: b": "", "a: [b": "", "": "", strings.Repeat("#", maxSize+1): "",
	} {
		if got := KindOf([]byte(text)); got != want {
			t.Errorf("%.40q: %q, want %q", text, got, want)
		}
	}
}
