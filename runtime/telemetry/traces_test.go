// SPDX-License-Identifier: Apache-2.0

package telemetry

import (
	"errors"
	"net"
	"os"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"
	"go.opentelemetry.io/otel/attribute"

	"github.com/weir-stream/weir/runtime/telemetry/telemetrytest"
)

func TestWanted_IsSaidByTheStandardVariables(t *testing.T) {
	tests := map[string]struct {
		environment map[string]string
		want        bool
	}{
		"nothing":                {nil, false},
		"an endpoint":            {map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4317"}, true},
		"an endpoint for traces": {map[string]string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://collector:4317"}, true},
		"turned off":             {map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4317", "OTEL_SDK_DISABLED": "true"}, false},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			if got := Wanted(func(name string) string { return tc.environment[name] }); got != tc.want {
				t.Errorf("got %v", got)
			}
		})
	}
}

func TestOpen_SendsToTheEndpointOfTheEnvironment(t *testing.T) {
	c := telemetrytest.New(t)
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", c.URL)
	traces, err := Open(t.Context(), Service{
		Name: "weir-test", Version: "v1", Attributes: []attribute.KeyValue{attribute.String("weir.streamjob", "words")}, Log: logr.Discard(),
	}, os.Getenv)
	if err != nil {
		t.Fatal(err)
	}
	_, span := traces.Provider().Tracer("test").Start(t.Context(), "upgrade")
	span.End()
	traces.Close(t.Context())
	spans := c.Spans()
	if len(spans) != 1 || spans[0].Service != "weir-test" || spans[0].Name != "upgrade" || spans[0].Attributes["weir.streamjob"] != "words" || spans[0].Parent != "" {
		t.Errorf("received %+v", spans)
	}
}

func TestOpen_WithoutAnEndpointIsOff(t *testing.T) {
	traces, err := Open(t.Context(), Service{Name: "weir-test"}, func(string) string { return "" })
	if err != nil || traces != nil || traces.Provider() != nil {
		t.Errorf("got %v, %v", traces, err)
	}
	traces.Close(t.Context())
}

// A collector that accepts connections and never says a word.
func TestTraces_OfADeadCollectorAreDroppedAndWaitedForBriefly(t *testing.T) {
	var config net.ListenConfig
	dead, err := config.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = dead.Close() })
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://"+dead.Addr().String())
	traces, err := Open(t.Context(), Service{Name: "weir-test", Log: logr.Discard()}, os.Getenv)
	if err != nil {
		t.Fatal(err)
	}
	tracer := traces.Provider().Tracer("test")
	began := time.Now()
	for range 50_000 { // more than any queue holds
		_, span := tracer.Start(t.Context(), "checkpoint")
		span.End()
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("50000 spans took %v: they wait for the collector", took)
	}
	began = time.Now()
	traces.Close(t.Context())
	if took := time.Since(began); took > 2*flushTimeout {
		t.Errorf("the end was held up for %v", took)
	}
}

func TestComplaints_AreMadeOnceAMinute(t *testing.T) {
	now, lines := time.Unix(1900000000, 0), 0
	c := &complaints{log: funcr.New(func(string, string) { lines++ }, funcr.Options{}), now: func() time.Time { return now }}
	for range 3 {
		c.Handle(errors.New("no collector"))
	}
	if lines != 1 {
		t.Errorf("%d lines at once, want 1", lines)
	}
	now = now.Add(complainEvery)
	c.Handle(errors.New("no collector"))
	if lines != 2 {
		t.Errorf("%d lines after a minute, want 2", lines)
	}
}
