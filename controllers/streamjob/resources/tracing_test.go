// SPDX-License-Identifier: Apache-2.0

package resources

import (
	"strings"
	"testing"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
	"github.com/weir-stream/weir/controllers/jobconfig"
	"github.com/weir-stream/weir/controllers/jobconfig/rulestest"
	"github.com/weir-stream/weir/controllers/streamjob/plan"
)

const tracingEndpoint = "http://collector.observability:4317"

func TestTracing_ReachesTheCoordinatorAlone(t *testing.T) {
	job := onS3()
	job.Spec.Tracing = &streamv1.Tracing{Endpoint: tracingEndpoint}
	r := NewRevision(job, settings, "", "")
	v := version{job: job, grant: 1, r: r}
	coordinator, err := v.coordinator()
	if err != nil {
		t.Fatal(err)
	}
	found := ""
	for _, e := range coordinator.Spec.Template.Spec.Containers[0].Env {
		if *e.Name == "OTEL_EXPORTER_OTLP_ENDPOINT" {
			found = *e.Value
		}
	}
	if found != tracingEndpoint {
		t.Errorf("the coordinator sends traces to %q", found)
	}
	workers, err := v.workers()
	if err != nil {
		t.Fatal(err)
	}
	agent, err := AgentPod(job, r, AgentOptions{Name: "a", Task: plan.CheckTask})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range append(workers.Spec.Template.Spec.Containers[0].Env, agent.Spec.Containers[0].Env...) {
		if strings.HasPrefix(*e.Name, "OTEL_") {
			t.Errorf("a worker or an agent has %s", *e.Name)
		}
	}
	if plain := onS3(); RevisionHash(&plain.Spec) == RevisionHash(&job.Spec) {
		t.Error("tracing is no new version, so it reaches nobody")
	}
}

func TestCheck_RefusesTwoCollectors(t *testing.T) {
	with := func(name string) *streamv1.StreamJob {
		job := onS3()
		job.Spec.Tracing = &streamv1.Tracing{Endpoint: tracingEndpoint}
		job.Spec.Coordinator = &streamv1.Coordinator{PodTemplate: &streamv1.PodTemplate{Containers: []streamv1.PodContainer{
			{Name: CoordinatorComponent, Env: []streamv1.EnvVar{{Name: name, Value: "x"}}},
		}}}
		return job
	}
	got := strings.Join(Check(with("OTEL_EXPORTER_OTLP_ENDPOINT")), "\n")
	if want := "spec.coordinator.podTemplate.containers[0].env[0].name: Forbidden: OTEL_EXPORTER_OTLP_ENDPOINT is set by the operator"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := Check(with("OTEL_TRACES_SAMPLER")); len(got) > 0 {
		t.Errorf("another variable is refused: %q", got)
	}
}

func TestTracing_EndpointIsAnAddressWithoutCredentials(t *testing.T) {
	for endpoint, want := range map[string]bool{
		"http://collector:4317": true, "https://collector.observability.svc:4317/": true,
		"collector:4317": false, "grpc://collector:4317": false, "http://": false, "http://user:secret@collector:4317": false, "http://collector:4317?token=x": false, "http://a b": false,
	} {
		_, err := jobconfig.Validate(t.Context(), []byte(rulestest.WithSpec(`tracing: {endpoint: "`+endpoint+`"}`)))
		if (err == nil) != want {
			t.Errorf("%s: %v", endpoint, err)
		}
		if err != nil && !strings.Contains(err.Error(), "spec.tracing.endpoint") {
			t.Errorf("%s: the message doesn't name the field: %v", endpoint, err)
		}
	}
}
