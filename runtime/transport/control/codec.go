// SPDX-License-Identifier: Apache-2.0

package control

import (
	"encoding/json"
	"fmt"

	"google.golang.org/grpc/mem"
)

// codec writes messages as JSON.
type codec struct{}

// Name implements the codec interface of gRPC.
func (codec) Name() string { return "weir-json" }

// Marshal implements the codec interface of gRPC.
func (codec) Marshal(v any) (mem.BufferSlice, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encoding a control message: %w", err)
	}
	return mem.BufferSlice{mem.SliceBuffer(b)}, nil
}

// Unmarshal implements the codec interface of gRPC.
func (codec) Unmarshal(data mem.BufferSlice, v any) error {
	if err := json.Unmarshal(data.Materialize(), v); err != nil {
		return fmt.Errorf("decoding a control message: %w", err)
	}
	return nil
}
