// SPDX-License-Identifier: Apache-2.0

// Command weir looks after StreamJobs in a cluster, runs streaming jobs on this machine, controls running ones and looks
// into their snapshots. Under the name kubectl-weir it is a kubectl plugin.
package main

import (
	"context"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/weir-stream/weir/cmd/weir/internal/cli"
	"github.com/weir-stream/weir/runtime/program"
)

func main() {
	signals := make(chan os.Signal, 3)
	app := &cli.App{
		Out: os.Stdout, Err: os.Stderr, Now: time.Now, Version: program.Version(),
		Signals: signals, TakeSignals: func() { signal.Notify(signals, os.Interrupt, syscall.SIGTERM) },
		Plugin: strings.HasPrefix(filepath.Base(os.Args[0]), "kubectl-weir"),
	}
	os.Exit(app.Run(context.Background(), os.Args[1:]))
}
