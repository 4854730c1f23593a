// SPDX-License-Identifier: Apache-2.0

// Package operatorconfig is the configuration file of the operator: what is in force for a StreamJob where its spec leaves a field
// unset, for the whole cluster and for single namespaces. Parse reads a file strictly, Defaults are merged into a spec by Apply, and
// Live keeps to the newest file that was valid while the operator runs.
//
// Defaults are merged when a version of a job is stored: a running job keeps those that it was started with.
package operatorconfig
