// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os"

	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"github.com/weir-stream/weir/controllers/streamjob"
	"github.com/weir-stream/weir/runtime/telemetry"
)

// addTraces returns what traces upgrades, which goes to where the environment says over OTLP with gRPC; nil when it says nothing.
func addTraces(ctx context.Context, mgr ctrl.Manager) (*streamjob.Traces, error) {
	traces, err := telemetry.Open(ctx, telemetry.Service{Name: "weir-manager", Version: version(), Log: ctrl.Log.WithName("traces")}, os.Getenv)
	if traces == nil || err != nil {
		return nil, err
	}
	flush := manager.RunnableFunc(func(ctx context.Context) error {
		<-ctx.Done()
		traces.Close(ctx)
		return nil
	})
	if err := mgr.Add(flush); err != nil {
		return nil, fmt.Errorf("adding the traces: %w", err)
	}
	return streamjob.NewTraces(traces.Provider()), nil
}
