// SPDX-License-Identifier: Apache-2.0

// Package telemetrytest has a collector of traces for tests: a real OTLP server that keeps what it is sent.
package telemetrytest

import (
	"context"
	"encoding/hex"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	collectorpb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
)

// Span is a span as a collector receives it.
type Span struct {
	// Service is the attribute service.name of the process that sent it.
	Service string
	Name    string
	// Trace, ID and Parent identify it and the span above; Parent is empty for a root.
	Trace, ID, Parent string
	Start, End        time.Time
	// Attributes of the span and, before them, of the process: strings, int64s, float64s, bools and []string.
	Attributes map[string]any
	// Events are the names of its events.
	Events []string
	// Error is the description of its status if that is an error; "error" if it has none.
	Error string
}

// Collector receives traces by OTLP over gRPC. Its methods are safe for concurrent use.
type Collector struct {
	collectorpb.UnimplementedTraceServiceServer

	// URL is what OTEL_EXPORTER_OTLP_ENDPOINT has to be.
	URL string

	mu    sync.Mutex
	spans []Span
	more  chan struct{}
}

// New starts a collector, which ends with the test.
func New(t *testing.T) *Collector {
	t.Helper()
	var config net.ListenConfig
	listener, err := config.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c, server := &Collector{URL: "http://" + listener.Addr().String(), more: make(chan struct{})}, grpc.NewServer()
	collectorpb.RegisterTraceServiceServer(server, c)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	t.Cleanup(func() {
		server.Stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return c
}

// Export implements the service of a collector.
func (c *Collector) Export(_ context.Context, r *collectorpb.ExportTraceServiceRequest) (*collectorpb.ExportTraceServiceResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, of := range r.GetResourceSpans() {
		for _, scope := range of.GetScopeSpans() {
			for _, s := range scope.GetSpans() {
				c.spans = append(c.spans, received(of.GetResource().GetAttributes(), s))
			}
		}
	}
	close(c.more)
	c.more = make(chan struct{})
	return &collectorpb.ExportTraceServiceResponse{}, nil
}

func received(process []*commonpb.KeyValue, s *tracepb.Span) Span {
	out := Span{
		Name: s.GetName(), Trace: hex.EncodeToString(s.GetTraceId()), ID: hex.EncodeToString(s.GetSpanId()), Parent: hex.EncodeToString(s.GetParentSpanId()),
		Start: time.Unix(0, int64(s.GetStartTimeUnixNano())), End: time.Unix(0, int64(s.GetEndTimeUnixNano())),
		Attributes: map[string]any{},
	}
	for _, a := range slices.Concat(process, s.GetAttributes()) {
		out.Attributes[a.GetKey()] = value(a.GetValue())
	}
	out.Service, _ = out.Attributes["service.name"].(string)
	for _, e := range s.GetEvents() {
		out.Events = append(out.Events, e.GetName())
	}
	if status := s.GetStatus(); status.GetCode() == tracepb.Status_STATUS_CODE_ERROR {
		out.Error = status.GetMessage()
		if out.Error == "" {
			out.Error = "error"
		}
	}
	return out
}

func value(v *commonpb.AnyValue) any {
	switch v := v.GetValue().(type) {
	case *commonpb.AnyValue_StringValue:
		return v.StringValue
	case *commonpb.AnyValue_IntValue:
		return v.IntValue
	case *commonpb.AnyValue_DoubleValue:
		return v.DoubleValue
	case *commonpb.AnyValue_BoolValue:
		return v.BoolValue
	case *commonpb.AnyValue_ArrayValue:
		var texts []string
		for _, e := range v.ArrayValue.GetValues() {
			texts = append(texts, e.GetStringValue())
		}
		return texts
	default:
		return nil
	}
}

// Spans returns what was received so far.
func (c *Collector) Spans() []Span {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]Span(nil), c.spans...)
}

// Await waits until want is content with what was received, and returns that. The test fails if that takes longer than 20 s.
func (c *Collector) Await(t *testing.T, want func([]Span) bool) []Span {
	t.Helper()
	late := time.NewTimer(20 * time.Second)
	defer late.Stop()
	for {
		c.mu.Lock()
		spans, more := append([]Span(nil), c.spans...), c.more
		c.mu.Unlock()
		if want(spans) {
			return spans
		}
		select {
		case <-more:
		case <-late.C:
			t.Fatalf("the spans that are waited for did not arrive within 20s; there are %d: %+v", len(spans), spans)
		}
	}
}
