// SPDX-License-Identifier: Apache-2.0

// Command engine runs the coordinator or a worker of a declarative job. It links no Kubernetes
// library: the configuration of the job is JSON, which weir config prints from a StreamJob.
package main

import (
	"os"

	"github.com/weir-stream/weir/runtime/program"
	"github.com/weir-stream/weir/runtime/program/declarative"
)

func main() {
	os.Exit(program.Execute(program.Command{
		Name:  "engine",
		Short: "Coordinator and workers of streaming jobs",
		Build: declarative.Build,
	}))
}
