// SPDX-License-Identifier: Apache-2.0

// Command weir runs streaming jobs on this machine, controls running ones and looks into their snapshots.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/weir-stream/weir/cmd/weir/internal/cli"
	"github.com/weir-stream/weir/runtime/program"
)

func main() {
	signals := make(chan os.Signal, 3)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	app := &cli.App{
		Out: os.Stdout, Err: os.Stderr, Signals: signals, Now: time.Now, Version: program.Version(),
	}
	os.Exit(app.Run(context.Background(), os.Args[1:]))
}
