// SPDX-License-Identifier: Apache-2.0

package telemetry

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/weir-stream/weir/runtime/contract"
)

const (
	// flushTimeout bounds how long the last traces are waited for at the end.
	flushTimeout = 3 * time.Second
	// complainEvery is how often it is logged at most that a collector does not take traces.
	complainEvery = time.Minute
)

// endpoints are the variables of which one says where traces go.
var endpoints = []string{contract.VariableTracesEndpoint, contract.VariableEndpoint}

// Wanted says whether the environment asks for traces. Goroutine-safe.
func Wanted(getenv func(string) string) bool {
	return getenv("OTEL_SDK_DISABLED") != "true" && slices.ContainsFunc(endpoints, func(name string) bool { return getenv(name) != "" })
}

// Service describes the process that traces.
type Service struct {
	// Name and Version are the attributes service.name, unless OTEL_SERVICE_NAME says another, and service.version.
	Name, Version string
	// Attributes are further ones of the process.
	Attributes []attribute.KeyValue
	// Log is told when traces can't be sent, at most once a minute.
	Log logr.Logger
}

// Traces are those of one process. A nil one is off.
type Traces struct {
	provider *sdktrace.TracerProvider
	log      logr.Logger
}

// Open returns traces that go over OTLP with gRPC to where the environment says; nil when it says nothing. It waits for nobody: a collector is dialed when
// there is something to send. The error says which setting can't be read.
func Open(ctx context.Context, s Service, getenv func(string) string) (*Traces, error) {
	if !Wanted(getenv) {
		return nil, nil
	}
	exporter, err := otlptracegrpc.New(ctx)
	if err != nil {
		return nil, fmt.Errorf("setting up traces, which an OTEL_EXPORTER_OTLP_ variable asks for: %w", err)
	}
	about, err := resource.New(ctx,
		resource.WithAttributes(attribute.String("service.name", s.Name), attribute.String("service.version", s.Version)),
		resource.WithAttributes(s.Attributes...), resource.WithFromEnv())
	if err != nil {
		return nil, fmt.Errorf("setting up traces, reading OTEL_RESOURCE_ATTRIBUTES: %w", err)
	}
	otel.SetErrorHandler(&complaints{log: s.Log, now: time.Now})
	return &Traces{provider: sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter), sdktrace.WithResource(about)), log: s.Log}, nil
}

// Provider returns what makes tracers; nil when traces are off.
func (t *Traces) Provider() trace.TracerProvider {
	if t == nil {
		return nil
	}
	return t.provider
}

// Close sends what is queued, for 3 s at most, also after ctx has ended. Call it once, when nothing is traced any more.
func (t *Traces) Close(ctx context.Context) {
	if t == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushTimeout)
	defer cancel()
	if err := t.provider.Shutdown(ctx); err != nil {
		t.log.Info("Sending the last traces failed", "reason", err.Error())
	}
}

// complaints log what the library reports, now and then.
type complaints struct {
	log  logr.Logger
	now  func() time.Time
	last atomic.Int64
}

// Handle implements [otel.ErrorHandler].
func (c *complaints) Handle(err error) {
	now, last := c.now().UnixNano(), c.last.Load()
	if last != 0 && now-last < int64(complainEvery) || !c.last.CompareAndSwap(last, now) {
		return
	}
	c.log.Info("Sending traces failed; what does not fit into the queue is dropped", "reason", err.Error())
}
