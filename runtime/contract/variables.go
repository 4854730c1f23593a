// SPDX-License-Identifier: Apache-2.0

package contract

// Environment variables, as OpenTelemetry names them, of which either turns the traces of checkpoints on and says where they go.
const (
	// VariableEndpoint is the collector for all that is exported; the operator sets it.
	VariableEndpoint = "OTEL_EXPORTER_OTLP_ENDPOINT"
	// VariableTracesEndpoint is the collector for traces, and goes before the other.
	VariableTracesEndpoint = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
)
