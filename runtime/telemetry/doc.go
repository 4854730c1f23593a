// SPDX-License-Identifier: Apache-2.0

// Package telemetry sends traces to an OpenTelemetry collector, for the engine and the operator alike. Where they go is said by the standard
// variables of the environment, and without an endpoint there are none.
//
// Nothing waits for a collector: spans are queued, and what finds the queue full is dropped.
package telemetry
