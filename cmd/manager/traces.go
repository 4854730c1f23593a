// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"github.com/weir-stream/weir/controllers/streamjob"
)

// flushTimeout bounds how long the last traces are waited for at the end.
const flushTimeout = 3 * time.Second

// endpoints are the standard variables of which one says where traces go; without them there are none.
var endpoints = []string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"}

// tracing says whether traces are wanted.
func tracing(getenv func(string) string) bool {
	return getenv("OTEL_SDK_DISABLED") != "true" && slices.ContainsFunc(endpoints, func(name string) bool { return getenv(name) != "" })
}

// addTraces returns what traces upgrades, which goes to where the environment says over OTLP with gRPC; nil when it says nothing.
func addTraces(ctx context.Context, mgr ctrl.Manager) (*streamjob.Traces, error) {
	if !tracing(os.Getenv) {
		return nil, nil
	}
	provider, err := newTracerProvider(ctx)
	if err != nil {
		return nil, err
	}
	flush := manager.RunnableFunc(func(ctx context.Context) error {
		<-ctx.Done()
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushTimeout)
		defer cancel()
		if err := provider.Shutdown(ctx); err != nil {
			ctrl.Log.Error(err, "Sending the last traces failed")
		}
		return nil
	})
	if err := mgr.Add(flush); err != nil {
		return nil, fmt.Errorf("adding the traces: %w", err)
	}
	return streamjob.NewTraces(provider), nil
}

// newTracerProvider returns a provider that is set up by the standard variables of OpenTelemetry.
func newTracerProvider(ctx context.Context) (*sdktrace.TracerProvider, error) {
	exporter, err := otlptracegrpc.New(ctx)
	if err != nil {
		return nil, fmt.Errorf("setting up traces, which an OTEL_EXPORTER_OTLP_ variable asks for: %w", err)
	}
	about, err := resource.New(ctx, resource.WithAttributes(attribute.String("service.name", "weir-manager"), attribute.String("service.version", version())),
		resource.WithFromEnv())
	if err != nil {
		return nil, fmt.Errorf("setting up traces, reading OTEL_RESOURCE_ATTRIBUTES: %w", err)
	}
	return sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter), sdktrace.WithResource(about)), nil
}
