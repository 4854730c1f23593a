// SPDX-License-Identifier: Apache-2.0

// Command panics is a program with a mistake.
package main

import (
	"context"

	"github.com/weir-stream/weir/runtime/operator"
	"github.com/weir-stream/weir/runtime/program"
	"github.com/weir-stream/weir/runtime/stream"
)

func main() { program.Main(stream.Build(build)) }

func build(j *stream.Job) {
	numbers := stream.From(j, "numbers", func() stream.Source[int64] { return &source{} }, stream.Bounded())
	broken := stream.Map(numbers, "broken", func(n int64) int64 {
		if n == 50 {
			panic("a mistake of the user")
		}
		return n
	})
	stream.ForEach(broken, "end", func(int64) {})
}

// source yields the numbers to 100.
type source struct{ n int64 }

func (s *source) Open(context.Context, *operator.Context) error { return nil }

func (s *source) Poll(rows []int64) ([]int64, operator.Polled, error) {
	if s.n == 100 {
		return rows, operator.Polled{State: operator.End}, nil
	}
	s.n++
	return append(rows, s.n), operator.Polled{State: operator.More}, nil
}

func (s *source) Close() error { return nil }
