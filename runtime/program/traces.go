// SPDX-License-Identifier: Apache-2.0

package program

import (
	"context"
	"os"

	"github.com/go-logr/logr"
	"go.opentelemetry.io/otel/attribute"

	"github.com/weir-stream/weir/runtime/contract"
	"github.com/weir-stream/weir/runtime/telemetry"
)

// openTraces returns the traces of a coordinator's process; nil if none are wanted, and also if how to send them can't be read: a job runs without.
func openTraces(ctx context.Context, cfg *contract.JobConfig, version string, log logr.Logger) *telemetry.Traces {
	traces, err := telemetry.Open(ctx, telemetry.Service{
		Name: "weir-coordinator", Version: version, Log: log.WithName("traces"),
		Attributes: []attribute.KeyValue{attribute.String("k8s.namespace.name", cfg.Namespace), attribute.String("weir.streamjob", cfg.Name)},
	}, os.Getenv)
	if err != nil {
		log.Error(err, "Tracing is off")
		return nil
	}
	return traces
}
