// SPDX-License-Identifier: Apache-2.0

package process_test

import (
	"context"
	"os"

	"github.com/weir-stream/weir/runtime/operator"
	"github.com/weir-stream/weir/runtime/program"
	"github.com/weir-stream/weir/runtime/stream"
)

// programMode makes this binary a job whose function panics where the variable says.
const programMode = "WEIR_TEST_PANIC"

// runProgram is the main function of that job.
func runProgram() { program.Main(stream.Build(panicking)) }

func panicking(j *stream.Job) {
	numbers := stream.From(j, "numbers", func() stream.Source[int64] { return &hundred{} }, stream.Bounded())
	panicAt("build")
	broken := stream.Map(numbers, "fine", func(n int64) int64 { return n })
	if os.Getenv(programMode) == "map" {
		broken = stream.Map(broken, "broken", func(n int64) int64 {
			if n == 50 {
				panicAt("map")
			}
			return n
		})
	} else {
		broken = stream.Process(stream.KeyBy(broken, func(n int64) int64 { return n % 10 }), "broken",
			func() stream.ProcessFunction[int64, int64, int64] { return brittle{} })
	}
	stream.ForEach(broken, "end", func(int64) {})
}

func panicAt(where string) {
	if os.Getenv(programMode) == where {
		panic("this is the user's mistake")
	}
}

// hundred is a source of the numbers up to a hundred.
type hundred struct{ next int64 }

func (h *hundred) Open(context.Context, *operator.Context) error { return nil }

func (h *hundred) Poll(rows []int64) ([]int64, operator.Polled, error) {
	if h.next == 50 {
		panicAt("source")
	}
	if h.next == 100 {
		return rows, operator.Polled{State: operator.End}, nil
	}
	h.next++
	return append(rows, h.next), operator.Polled{State: operator.More}, nil
}

func (h *hundred) Close() error { return nil }

type brittle struct{}

func (brittle) Open(*stream.KeyedContext[int64]) error {
	panicAt("open")
	return nil
}

func (brittle) Process(_ *stream.KeyedContext[int64], n int64, out *stream.Collector[int64]) error {
	if n == 50 {
		panicAt("process")
	}
	out.Emit(n)
	return nil
}
