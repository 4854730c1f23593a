// SPDX-License-Identifier: Apache-2.0

package resources

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
)

// newestFrozen is the folder of testdata/stored with what this version stores.
const newestFrozen = "form-3-all"

// freeze writes the objects of the samples as this version makes them to a new folder of testdata/stored.
var freeze = flag.String("freeze", "", "name of a new folder of testdata/stored, for the objects as this version makes them")

// TestUpgradeOfTheOperator_RestartsNothing reads revisions that earlier versions of the operator stored, and builds their objects from nothing
// else: they have to be what is in the cluster, but for the reference to the owner, or each running job would be restarted. Files below testdata/stored are never changed;
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
				unblock(t, want)
				if diff := cmp.Diff(want, rebuilt[name]); diff != "" {
					t.Errorf("document %d, the %s (-in the cluster +as it is built now):\n%s", i, name, diff)
				}
			}
		})
	}
}

// unblock makes the reference to the owner what it is now. Earlier versions of the operator made it hold up deletions in the foreground; taking that back changes nothing that a pod
// is made of.
func unblock(t *testing.T, object any) {
	t.Helper()
	metadata, _ := object.(map[string]any)["metadata"].(map[string]any)
	owners, _ := metadata["ownerReferences"].([]any)
	if len(owners) != 1 {
		t.Fatalf("it has %d owners", len(owners))
	}
	owners[0].(map[string]any)["blockOwnerDeletion"] = false
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
	objects, err := objectsOf(job, *r)
	if err != nil {
		t.Fatal(err)
	}
	rebuilt := map[string]any{}
	for _, o := range objects {
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

// objectsOf builds all objects of a grant, and the network policy of the job if it has one.
func objectsOf(job *streamv1.StreamJob, r Revision) ([]any, error) {
	cm, err := ConfigMap(job, 7, r)
	if err != nil {
		return nil, err
	}
	set, err := Children(job, 7, r)
	if err != nil {
		return nil, err
	}
	objects := []any{cm, set.Service, set.Coordinator, set.Workers, set.Disruption}
	if IsIsolated(&r.Spec) {
		objects = append(objects, NetworkPolicy(job, "weir-system"))
	}
	return objects, nil
}

// frozen returns what is frozen, by the name of its file: each sample as it is stored now, the full templates in every form, since a
// version that an older operator stored has them too, and versions that stand by or are traced.
func frozen() map[string]Revision {
	revision := func(job *streamv1.StreamJob) Revision {
		return NewRevision(job, settings, "", "6f1c6c1e000040008000000000000001")
	}
	found := map[string]Revision{}
	for name, sample := range samples {
		found[name] = revision(sample())
	}
	for form := range NewestForm + 1 {
		r := revision(withTemplates())
		r.Form = form
		found[fmt.Sprintf("templates-of-form-%d", form)] = r
	}
	standby := revision(onS3())
	standby.Standby, standby.JobID = true, "6f1c6c1e000040008000000000000001"
	found["standby"] = standby
	rewound := revision(withLocalRecovery())
	rewound.JobID, rewound.RewindTo = "6f1c6c1e000040008000000000000001", "s3://weir/jobs/checkpoints/chk-9"
	found["rewound"] = rewound
	traced := withTemplates()
	traced.Spec.Tracing = &streamv1.Tracing{Endpoint: tracingEndpoint}
	found["traced"] = revision(traced)
	return found
}

func freezeSamples(t *testing.T, folder string) {
	t.Helper()
	if err := os.Mkdir(folder, 0o755); err != nil {
		t.Fatalf("what is frozen is never changed: %v", err)
	}
	for name, r := range frozen() {
		objects, err := objectsOf(newJob("clicks", r.Spec), r)
		if err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		for i, o := range objects {
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

// TestFreeze_HoldsWhatAnyVersionMayHave finds in the newest folder of testdata/stored each kind of object, and each version that [frozen]
// names: what is frozen with too little would let a change through that restarts jobs.
func TestFreeze_HoldsWhatAnyVersionMayHave(t *testing.T) {
	folder := filepath.Join("testdata", "stored", newestFrozen)
	kinds := map[string]bool{}
	for name, r := range frozen() {
		text, err := os.ReadFile(filepath.Join(folder, name+".yaml"))
		if err != nil {
			t.Errorf("%v: freeze it with -freeze and name the folder here", err)
			continue
		}
		for document := range bytes.SplitSeq(text, []byte("\n---\n")) {
			var object struct{ Kind string }
			if err := yaml.Unmarshal(document, &object); err != nil {
				t.Fatal(err)
			}
			kinds[object.Kind] = true
		}
		if want := fmt.Sprintf(`"form":%d`, r.Form); r.Form > 0 && !bytes.Contains(text, []byte(want)) {
			t.Errorf("%s.yaml does not hold %s: it is of another form", name, want)
		}
	}
	for _, kind := range []string{"ConfigMap", "Service", "Deployment", "StatefulSet", "PodDisruptionBudget", "NetworkPolicy"} {
		if !kinds[kind] {
			t.Errorf("no %s is frozen in %s", kind, folder)
		}
	}
}

// TestChildren_HoldUpNoDeletionInTheForeground shows that nothing blocks the deletion of its owner: the garbage collector would delete what is made again, too, as long as the StreamJob is there.
func TestChildren_HoldUpNoDeletionInTheForeground(t *testing.T) {
	owner := Owner(withTemplates())
	if owner.BlockOwnerDeletion == nil || *owner.BlockOwnerDeletion {
		t.Errorf("the owner reference is %+v", owner)
	}
	for name, revision := range frozen() {
		job := withTemplates()
		objects, err := objectsOf(job, revision)
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range objects {
			text, err := json.Marshal(o)
			if err != nil {
				t.Fatal(err)
			}
			if bytes.Contains(text, []byte(`"blockOwnerDeletion":true`)) {
				t.Errorf("%s: it holds up a deletion in the foreground: %s", name, text)
			}
		}
	}
}
