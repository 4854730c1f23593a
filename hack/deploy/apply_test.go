// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"
)

const (
	// account is who the operator is to the API server.
	account = "system:serviceaccount:weir-system:weir-manager"
	// patience is how long the API server may take for a definition.
	patience = time.Minute
)

// TestInstall_IsTakenByAnAPIServer applies dist/install.yaml as kubectl apply --server-side does: each object is taken, StreamJobs are served, and the
// operator may do its work in any namespace.
func TestInstall_IsTakenByAnAPIServer(t *testing.T) {
	if testing.Short() {
		t.Skip("it starts an API server")
	}
	file := filepath.Join(t.TempDir(), "install.yaml")
	if err := run([]string{"install", root, file}); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var objects []object
	for document := range bytes.SplitSeq(text, []byte("\n---\n")) {
		var o object
		if err := yaml.Unmarshal(document, &o); err != nil {
			t.Fatal(err)
		}
		if len(o) > 0 {
			objects = append(objects, o)
		}
	}
	kube, _ := startCluster(t)
	applyAll(t, kube, "", objects)
	servesStreamJobs(t, kube, "default")
	for _, namespace := range []string{"default", "kube-public", ""} {
		if !mayList(t, kube, namespace) {
			t.Errorf("the operator may not list StreamJobs in namespace %q", namespace)
		}
	}
}

// TestNamespaced_IsTakenByAnAPIServer applies config/namespaced, and config/namespaced/tenant to one namespace: the operator may do its
// work there and in no other.
func TestNamespaced_IsTakenByAnAPIServer(t *testing.T) {
	if testing.Short() {
		t.Skip("it starts an API server")
	}
	kube, _ := startCluster(t)
	for folder, namespace := range map[string]string{"config/namespaced": "", "config/namespaced/tenant": "default"} {
		objects, err := render(root, folder)
		if err != nil {
			t.Fatal(err)
		}
		applyAll(t, kube, namespace, objects)
	}
	servesStreamJobs(t, kube, "default")
	for namespace, want := range map[string]bool{"default": true, "kube-public": false, "": false} {
		if got := mayList(t, kube, namespace); got != want {
			t.Errorf("the operator may list StreamJobs in namespace %q: %t, want %t", namespace, got, want)
		}
	}
}

// applyAll applies objects in their order, in a namespace if they name none and it isn't empty, and a second time: nothing changes then.
func applyAll(t *testing.T, kube client.Client, namespace string, objects []object) {
	t.Helper()
	if len(objects) == 0 {
		t.Fatal("there is nothing to apply")
	}
	strict := client.WithFieldValidation(kube, metav1.FieldValidationStrict)
	versions := map[string]string{}
	for again := range 2 {
		for _, o := range objects {
			text, err := json.Marshal(o)
			if err != nil {
				t.Fatal(err)
			}
			u := &unstructured.Unstructured{}
			if err := u.UnmarshalJSON(text); err != nil {
				t.Fatal(err)
			}
			if namespace != "" && u.GetNamespace() == "" {
				u.SetNamespace(namespace)
			}
			name := u.GetKind() + " " + u.GetName()
			if err := strict.Apply(t.Context(), client.ApplyConfigurationFromUnstructured(u), client.FieldOwner("kubectl")); err != nil {
				t.Fatalf("applying %s: %v", name, err)
			}
			// The API server itself writes to definitions while it takes them up.
			if o.kind() == "CustomResourceDefinition" {
				continue
			}
			if again == 1 && versions[name] != u.GetResourceVersion() {
				t.Errorf("%s is changed when it is applied again", name)
			}
			versions[name] = u.GetResourceVersion()
		}
	}
}

// servesStreamJobs waits until the definitions are established, and has a sample taken.
func servesStreamJobs(t *testing.T, kube client.Client, namespace string) {
	t.Helper()
	definitions := &apiextensionsv1.CustomResourceDefinitionList{}
	eventually(t, func() error {
		if err := kube.List(t.Context(), definitions); err != nil {
			return err
		}
		established := 0
		for i := range definitions.Items {
			for _, c := range definitions.Items[i].Status.Conditions {
				if c.Type == apiextensionsv1.Established && c.Status == apiextensionsv1.ConditionTrue {
					established++
				}
			}
		}
		if established != len(definitions.Items) || established != 2 {
			return fmt.Errorf("%d of %d definitions are established, want 2", established, len(definitions.Items))
		}
		return nil
	})
	text, err := os.ReadFile(filepath.Join(root, "config", "samples", "first-job.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var sample object
	if err := yaml.Unmarshal(text, &sample); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error { // the discovery of a client lags behind
		job := &unstructured.Unstructured{Object: sample}
		job.SetNamespace(namespace)
		return kube.Apply(t.Context(), client.ApplyConfigurationFromUnstructured(job), client.FieldOwner("kubectl"))
	})
}

// mayList says whether the operator may list the StreamJobs of a namespace; empty: of all.
func mayList(t *testing.T, kube client.Client, namespace string) bool {
	t.Helper()
	review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
		User: account, Groups: []string{"system:serviceaccounts", "system:authenticated"},
		ResourceAttributes: &authorizationv1.ResourceAttributes{Namespace: namespace, Verb: "list", Group: "stream.weir.dev", Resource: "streamjobs"},
	}}
	var allowed bool
	// The authorizer reads roles from a cache: what was just applied may take a moment.
	deadline := time.Now().Add(5 * time.Second)
	for !allowed && time.Now().Before(deadline) {
		review.Status = authorizationv1.SubjectAccessReviewStatus{}
		if err := kube.Create(t.Context(), review); err != nil {
			t.Fatal(err)
		}
		allowed = review.Status.Allowed
		pause(t)
	}
	return allowed
}

// eventually tries until it succeeds.
func eventually(t *testing.T, try func() error) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		err := try()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
		pause(t)
	}
}

func pause(t *testing.T) {
	t.Helper()
	select {
	case <-t.Context().Done():
		t.Fatal("the test has ended")
	case <-time.After(100 * time.Millisecond):
	}
}
