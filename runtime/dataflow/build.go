// SPDX-License-Identifier: Apache-2.0

package dataflow

import (
	"errors"

	"github.com/weir-stream/weir/runtime/connector/format"
	"github.com/weir-stream/weir/runtime/contract"
	"github.com/weir-stream/weir/runtime/graph"
	"github.com/weir-stream/weir/runtime/operator"
)

// Connectors makes the sources and sinks that reach outside the process. A call checks the
// configuration and opens nothing; the function it returns makes the instance of one subtask.
type Connectors interface {
	// FilesSource returns a source of the lines of files. Its batches come from the decoder.
	FilesSource(name string, spec *contract.FilesSource, newDecoder func() format.Decoder) (func() operator.Source, error)
	// FileSink returns a transactional sink of files. Their content comes from the encoder.
	FileSink(name string, spec *contract.FileSink, newEncoder func() format.Encoder) (func() operator.Operator, error)
}

// Build makes the graph of cfg.Dataflow. The error lists everything that is wrong, each with the operator it is about.
func Build(cfg contract.JobConfig, connectors Connectors) (*graph.Graph, error) {
	return nil, errors.New("building the dataflow: not yet written")
}
