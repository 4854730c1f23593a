// SPDX-License-Identifier: Apache-2.0

package resources

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
)

// freeze writes the objects of the samples as this version makes them to a new folder of testdata/stored.
var freeze = flag.String("freeze", "", "name of a new folder of testdata/stored, for the objects as this version makes them")

// TestUpgradeOfTheOperator_RestartsNothing reads revisions that earlier versions of the operator stored, and builds their objects from nothing
// else: they have to be what is in the cluster, or each running job would be restarted. Files below testdata/stored are never changed;
// what a later version does otherwise needs a new [Revision.Form].
func TestUpgradeOfTheOperator_RestartsNothing(t *testing.T) {
	if *freeze != "" {
		freezeSamples(t, filepath.Join("testdata", "stored", *freeze))
	}
	files, err := filepath.Glob(filepath.Join("testdata", "stored", "*", "*.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < len(samples) {
		t.Fatalf("found only %v", files)
	}
	for _, file := range files {
		t.Run(filepath.ToSlash(file), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			documents := bytes.Split(text, []byte("\n---\n"))
			cm := &corev1.ConfigMap{}
			if err := yaml.UnmarshalStrict(documents[0], cm); err != nil {
				t.Fatal(err)
			}
			rebuilt := rebuild(t, cm)
			for i, document := range documents {
				var want any
				if err := yaml.Unmarshal(document, &want); err != nil {
					t.Fatal(err)
				}
				name, _ := want.(map[string]any)["kind"].(string)
				if diff := cmp.Diff(want, rebuilt[name]); diff != "" {
					t.Errorf("document %d, the %s (-in the cluster +as it is built now):\n%s", i, name, diff)
				}
			}
		})
	}
}

// rebuild builds the objects of a grant from its config map, as they are after JSON, by kind.
func rebuild(t *testing.T, cm *corev1.ConfigMap) map[string]any {
	t.Helper()
	owner := cm.OwnerReferences[0]
	job := &streamv1.StreamJob{ObjectMeta: metav1.ObjectMeta{Namespace: cm.Namespace, Name: owner.Name, UID: owner.UID}}
	r, err := ReadRevision(cm)
	if err != nil {
		t.Fatal(err)
	}
	again, err := ConfigMap(job, 7, *r)
	if err != nil {
		t.Fatal(err)
	}
	set, err := Children(job, 7, *r)
	if err != nil {
		t.Fatal(err)
	}
	rebuilt := map[string]any{}
	for _, o := range []any{again, set.Service, set.Coordinator, set.Workers} {
		text, err := json.Marshal(o)
		if err != nil {
			t.Fatal(err)
		}
		var object map[string]any
		if err := json.Unmarshal(text, &object); err != nil {
			t.Fatal(err)
		}
		kind, _ := object["kind"].(string)
		rebuilt[kind] = object
	}
	return rebuilt
}

func freezeSamples(t *testing.T, folder string) {
	t.Helper()
	if err := os.Mkdir(folder, 0o755); err != nil {
		t.Fatalf("what is frozen is never changed: %v", err)
	}
	for name, sample := range samples {
		job := sample()
		r := NewRevision(job, settings, "", "6f1c6c1e000040008000000000000001")
		cm, err := ConfigMap(job, 7, r)
		if err != nil {
			t.Fatal(err)
		}
		set, err := Children(job, 7, r)
		if err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		for i, o := range []any{cm, set.Service, set.Coordinator, set.Workers} {
			text, err := yaml.Marshal(o)
			if err != nil {
				t.Fatal(err)
			}
			if i > 0 {
				b.WriteString("---\n")
			}
			b.Write(text)
		}
		if err := os.WriteFile(filepath.Join(folder, name+".yaml"), b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
