// SPDX-License-Identifier: Apache-2.0

package prometheus

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/yaml"
)

// monitor is what is read here of a ServiceMonitor or a PodMonitor.
type monitor struct {
	Kind     string            `json:"kind"`
	Metadata metav1.ObjectMeta `json:"metadata"`
	Spec     struct {
		NamespaceSelector struct {
			Any bool `json:"any"`
		} `json:"namespaceSelector"`
		Selector            metav1.LabelSelector `json:"selector"`
		Endpoints           []endpoint           `json:"endpoints"`
		PodMetricsEndpoints []endpoint           `json:"podMetricsEndpoints"`
	} `json:"spec"`
}

// endpoint is how one port is collected.
type endpoint struct {
	Port            string `json:"port"`
	Scheme          string `json:"scheme"`
	Path            string `json:"path"`
	HonorLabels     bool   `json:"honorLabels"`
	BearerTokenFile string `json:"bearerTokenFile"`
	TLSConfig       struct {
		InsecureSkipVerify bool `json:"insecureSkipVerify"`
	} `json:"tlsConfig"`
}

// documents returns the documents of a YAML file of the repository.
func documents(t *testing.T, path ...string) [][]byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(append([]string{root}, path...)...))
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Split(text, []byte("\n---\n"))
}

// manifest reads the document of a kind from a YAML file of the repository.
func manifest[T any](t *testing.T, kind string, path ...string) *T {
	t.Helper()
	for _, document := range documents(t, path...) {
		var meta metav1.TypeMeta
		if err := yaml.Unmarshal(document, &meta); err != nil {
			t.Fatal(err)
		}
		if meta.Kind != kind {
			continue
		}
		found := new(T)
		if err := yaml.UnmarshalStrict(document, found); err != nil {
			t.Fatal(err)
		}
		return found
	}
	t.Fatalf("%v holds no %s", path, kind)
	return nil
}

// monitors returns config/prometheus/monitors.yaml by kind.
func monitors(t *testing.T) (service, pods *monitor) {
	t.Helper()
	read := func(kind string) *monitor {
		for _, document := range documents(t, "config", "prometheus", "monitors.yaml") {
			m := &monitor{}
			if err := yaml.Unmarshal(document, m); err != nil {
				t.Fatal(err)
			}
			if m.Kind == kind {
				return m
			}
		}
		t.Fatalf("there is no %s", kind)
		return nil
	}
	return read("ServiceMonitor"), read("PodMonitor")
}

// selects wants that a selector selects labels.
func selects(t *testing.T, selector *metav1.LabelSelector, found map[string]string) {
	t.Helper()
	s, err := metav1.LabelSelectorAsSelector(selector)
	if err != nil {
		t.Fatal(err)
	}
	if s.Empty() {
		t.Error("the selector selects everything")
	}
	if !s.Matches(labels.Set(found)) {
		t.Errorf("%s does not select what has the labels %v", s, found)
	}
}

// TestMonitors_FindTheOperator follows the ServiceMonitor through the Service to the port that the operator's container serves metrics on.
func TestMonitors_FindTheOperator(t *testing.T) {
	m, _ := monitors(t)
	service := manifest[corev1.Service](t, "Service", "config", "manager", "metrics_service.yaml")
	deployment := manifest[appsv1.Deployment](t, "Deployment", "config", "manager", "manager.yaml")
	selects(t, &m.Spec.Selector, service.Labels)
	selects(t, &metav1.LabelSelector{MatchLabels: service.Spec.Selector}, deployment.Spec.Template.Labels)
	if len(m.Spec.Endpoints) != 1 {
		t.Fatalf("there are the endpoints %+v", m.Spec.Endpoints)
	}
	e := m.Spec.Endpoints[0]
	i := slices.IndexFunc(service.Spec.Ports, func(p corev1.ServicePort) bool { return p.Name == e.Port })
	if i < 0 {
		t.Fatalf("the Service has no port %q", e.Port)
	}
	container := &deployment.Spec.Template.Spec.Containers[0]
	target := service.Spec.Ports[i].TargetPort.StrVal
	j := slices.IndexFunc(container.Ports, func(p corev1.ContainerPort) bool { return p.Name == target })
	if j < 0 {
		t.Fatalf("the container has no port %q", target)
	}
	if want := "--metrics-bind-address=:8443"; container.Ports[j].ContainerPort != 8443 || !slices.Contains(container.Args, want) {
		t.Errorf("metrics are collected on port %d, and the arguments are %v, want %s", container.Ports[j].ContainerPort, container.Args, want)
	}
	// What live_test.go configures Prometheus with.
	if e.Scheme != "https" || e.Path != "/metrics" || !e.HonorLabels || !e.TLSConfig.InsecureSkipVerify || e.BearerTokenFile == "" {
		t.Errorf("the endpoint is %+v", e)
	}
}

// TestMonitors_FindCoordinators follows the PodMonitor to the port of the pods that the operator makes, in any namespace.
func TestMonitors_FindCoordinators(t *testing.T) {
	_, m := monitors(t)
	goldens := []string{"controllers", "streamjob", "resources", "testdata"}
	deployment := manifest[appsv1.Deployment](t, "Deployment", append(goldens, "new-minimal.yaml")...)
	workers := manifest[appsv1.StatefulSet](t, "StatefulSet", append(goldens, "new-minimal.yaml")...)
	selects(t, &m.Spec.Selector, deployment.Spec.Template.Labels)
	s, err := metav1.LabelSelectorAsSelector(&m.Spec.Selector)
	if err != nil {
		t.Fatal(err)
	}
	if s.Matches(labels.Set(workers.Spec.Template.Labels)) {
		t.Errorf("%s selects workers too, which serve no metrics of a job", s)
	}
	if !m.Spec.NamespaceSelector.Any || len(m.Spec.PodMetricsEndpoints) != 1 {
		t.Fatalf("it is for the namespaces %+v and the endpoints %+v", m.Spec.NamespaceSelector, m.Spec.PodMetricsEndpoints)
	}
	e := m.Spec.PodMetricsEndpoints[0]
	container := &deployment.Spec.Template.Spec.Containers[0]
	i := slices.IndexFunc(container.Ports, func(p corev1.ContainerPort) bool { return p.Name == e.Port })
	if i < 0 {
		t.Fatalf("the container has no port %q", e.Port)
	}
	flag := slices.Index(container.Args, "--health")
	if want := ":8082"; container.Ports[i].ContainerPort != 8082 || flag < 0 || container.Args[flag+1] != want {
		t.Errorf("metrics are collected on port %d, and the arguments are %v, want --health %s", container.Ports[i].ContainerPort, container.Args, want)
	}
	// The port of probes and metrics has no TLS, as live_test.go has it.
	if e.Scheme != "" && e.Scheme != "http" || e.Path != "/metrics" || !e.HonorLabels {
		t.Errorf("the endpoint is %+v", e)
	}
}
