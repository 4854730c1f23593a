// SPDX-License-Identifier: Apache-2.0

// Package declarative builds the graphs of declarative jobs with the connectors that the engine comes with.
package declarative

import (
	"github.com/weir-stream/weir/runtime/connector/files"
	"github.com/weir-stream/weir/runtime/contract"
	"github.com/weir-stream/weir/runtime/dataflow"
	"github.com/weir-stream/weir/runtime/graph"
)

// Build makes the graph of a declarative job.
func Build(cfg contract.JobConfig) (*graph.Graph, error) {
	return dataflow.Build(cfg, files.Connectors{Job: cfg})
}
