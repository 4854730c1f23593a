// SPDX-License-Identifier: Apache-2.0

package program

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/weir-stream/weir/runtime/contract"
	"github.com/weir-stream/weir/runtime/graph"
)

// Main is the main function of a program that runs its own job: with "run" on this machine, with "coordinator" and
// "worker" as separate processes. It doesn't return.
//
//	func main() { program.Main(stream.Build(describe)) }
//
// The name of the job is that of the binary unless the configuration gives another.
func Main(build Build) {
	name := filepath.Base(os.Args[0])
	os.Exit(Execute(Command{ //nolint:forbidigo // this is the main function of a program
		Name: name, Short: "A streaming job", Build: build,
		Defaults: &contract.JobConfig{Namespace: "default", Name: name, Parallelism: 1},
	}))
}

// safely makes a panic of the user's function an error.
func (b Build) safely(cfg contract.JobConfig) (g *graph.Graph, err error) {
	defer func() {
		if r := recover(); r != nil {
			g, err = nil, fmt.Errorf("building the job: its function panicked: %v", r)
		}
	}()
	return b(cfg)
}
