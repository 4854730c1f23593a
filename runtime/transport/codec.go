// SPDX-License-Identifier: Apache-2.0

package transport

import (
	"fmt"
	"sync"

	"google.golang.org/grpc/mem"
)

// rawCodec hands messages through as the buffers they are.
type rawCodec struct{}

// Name implements the codec interface of gRPC.
func (rawCodec) Name() string { return "weir-raw" }

// Marshal implements the codec interface of gRPC; the buffers go to gRPC, which frees them.
func (rawCodec) Marshal(v any) (mem.BufferSlice, error) {
	m, ok := v.(*mem.BufferSlice)
	if !ok {
		return nil, fmt.Errorf("encoding a message: unexpected %T", v)
	}
	return *m, nil
}

// Unmarshal implements the codec interface of gRPC; the receiver frees the buffers.
func (rawCodec) Unmarshal(data mem.BufferSlice, v any) error {
	m, ok := v.(*mem.BufferSlice)
	if !ok {
		return fmt.Errorf("decoding a message: unexpected %T", v)
	}
	data.Ref()
	*m = data
	return nil
}

// pooledFrame is the largest frame whose memory is kept.
const pooledFrame = 2 * splitFrame

// framePool keeps the memory of frames. It is a buffer pool of gRPC, which returns them once they are written.
type framePool struct{ p sync.Pool }

// Get implements [mem.BufferPool]. The content is undefined.
func (f *framePool) Get(length int) *[]byte {
	b, ok := f.p.Get().(*[]byte)
	if !ok {
		b = new([]byte)
	}
	if cap(*b) < length {
		*b = make([]byte, length, max(length, targetFrame))
	}
	*b = (*b)[:length]
	return b
}

// Put implements [mem.BufferPool].
func (f *framePool) Put(b *[]byte) {
	if cap(*b) <= pooledFrame {
		f.p.Put(b)
	}
}
