// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e_test

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/http"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// metricsReader is the cluster role that may read the operator's metrics.
const metricsReader = "weir-metrics-reader"

// metrics reads those of the operator, as a service account that may.
type metrics struct {
	s     *scenario
	url   string
	token string
	http  *http.Client
}

// families are metrics by name.
type families map[string]*dto.MetricFamily

func (s *scenario) operatorMetrics() *metrics {
	s.Helper()
	pods := s.operatorPods()
	if len(pods) != 1 {
		s.Fatalf("the operator has %d pods, want 1", len(pods))
	}
	transport := &http.Transport{
		DialContext:     suite.access.Dial,
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, // its certificate is its own; the token authenticates the reader
	}
	s.Cleanup(transport.CloseIdleConnections)
	m := &metrics{s: s, token: s.readerToken(), http: &http.Client{Transport: transport}}
	m.url = "https://" + net.JoinHostPort(pods[0].Status.PodIP, metricsPort(s, &pods[0])) + "/metrics"
	s.wantUnauthorized(m)
	return m
}

// metricsPort is the port of that name.
func metricsPort(s *scenario, pod *corev1.Pod) string {
	s.Helper()
	for _, c := range pod.Spec.Containers {
		for _, p := range c.Ports {
			if p.Name == "metrics" {
				return fmt.Sprint(p.ContainerPort)
			}
		}
	}
	s.Fatalf("pod %s has no port metrics", pod.Name)
	return ""
}

// readerToken makes a service account that may read the metrics, and a token of it.
func (s *scenario) readerToken() string {
	s.Helper()
	s.create(&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: s.ns, Name: "reader"}})
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: s.ns + "-reader"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: metricsReader},
		Subjects:   []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: s.ns, Name: "reader"}},
	}
	s.create(binding)
	s.Cleanup(func() {
		ctx, cancel := s.late()
		defer cancel()
		if err := suite.client.Delete(ctx, binding); client.IgnoreNotFound(err) != nil {
			s.Logf("deleting the binding: %v", err)
		}
	})
	request := &authenticationv1.TokenRequest{}
	got, err := suite.access.Client().CoreV1().ServiceAccounts(s.ns).CreateToken(s.Context(), "reader", request, metav1.CreateOptions{})
	if err != nil {
		s.Fatalf("asking for a token: %v", err)
	}
	return got.Status.Token
}

// wantUnauthorized checks that the metrics aren't for everyone.
func (s *scenario) wantUnauthorized(m *metrics) {
	s.Helper()
	req, err := http.NewRequestWithContext(s.Context(), http.MethodGet, m.url, nil)
	if err != nil {
		s.Fatal(err)
	}
	res, err := m.http.Do(req)
	if err != nil {
		s.Fatalf("reading the metrics: %v", err)
	}
	_ = res.Body.Close()
	if res.StatusCode != http.StatusUnauthorized {
		s.Errorf("the metrics without a token: %s, want 401", res.Status)
	}
}

// read reads the metrics.
func (m *metrics) read() families {
	m.s.Helper()
	req, err := http.NewRequestWithContext(m.s.Context(), http.MethodGet, m.url, nil)
	if err != nil {
		m.s.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+m.token)
	res, err := m.http.Do(req)
	if err != nil {
		m.s.Fatalf("reading the metrics: %v", err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		m.s.Fatalf("reading the metrics: %s", res.Status)
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	got, err := parser.TextToMetricFamilies(res.Body)
	if err != nil {
		m.s.Fatalf("reading the metrics: %v", err)
	}
	return got
}

// requests counts those that the operator has sent to the API server with a method.
func (f families) requests(method string) (n float64) {
	for _, m := range f["rest_client_requests_total"].GetMetric() {
		for _, l := range m.GetLabel() {
			if l.GetName() == "method" && l.GetValue() == method {
				n += m.GetCounter().GetValue()
			}
		}
	}
	return n
}

// memory that the operator has resident, in bytes.
func (f families) memory() float64 { return f.gauge("process_resident_memory_bytes") }

// memoryParts says what the memory of the operator consists of.
func (f families) memoryParts() string {
	const mb = 1e6
	inUse, stacks := f.gauge("go_memstats_heap_inuse_bytes"), f.gauge("go_memstats_stack_inuse_bytes")
	idle := f.gauge("go_memstats_heap_idle_bytes") - f.gauge("go_memstats_heap_released_bytes")
	return fmt.Sprintf("heap %.0f MB of which objects %.0f, idle %.0f, stacks %.0f, next collection at %.0f", inUse/mb,
		f.gauge("go_memstats_heap_alloc_bytes")/mb, idle/mb, stacks/mb, f.gauge("go_memstats_next_gc_bytes")/mb)
}

// gauge is the value of a gauge without labels; 0: there is none.
func (f families) gauge(name string) float64 {
	for _, m := range f[name].GetMetric() {
		return m.GetGauge().GetValue()
	}
	return 0
}

// passes says how many passes over StreamJobs the operator has made, how many seconds one took on average, and the share of those that
// took more than a second.
func (f families) passes() (count, mean, slow float64) {
	var sum, quick float64
	for _, m := range f["controller_runtime_reconcile_time_seconds"].GetMetric() {
		h := m.GetHistogram()
		count += float64(h.GetSampleCount())
		sum += h.GetSampleSum()
		for _, b := range h.GetBucket() {
			if b.GetUpperBound() == 1 {
				quick += float64(b.GetCumulativeCount())
			}
		}
	}
	if count == 0 {
		return 0, 0, 0
	}
	return count, sum / count, 1 - quick/count
}
