// SPDX-License-Identifier: Apache-2.0

// Package crd holds the generated custom resource definitions, so that programs carry the same schema and rules that
// the API server enforces.
package crd

import _ "embed"

// StreamJobs is the definition of StreamJob, as YAML.
//
//go:embed bases/stream.weir.dev_streamjobs.yaml
var StreamJobs []byte

// StreamSnapshots is the definition of StreamSnapshot, as YAML.
//
//go:embed bases/stream.weir.dev_streamsnapshots.yaml
var StreamSnapshots []byte
