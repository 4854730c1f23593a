// SPDX-License-Identifier: Apache-2.0

// Package prometheus tests what is in config/prometheus with the programs that will read it: alert rules with promtool, and all expressions of
// rules and dashboard with a Prometheus that collects the metrics of an operator and of an engine. Both programs are built from hack/prometheus.
package prometheus
