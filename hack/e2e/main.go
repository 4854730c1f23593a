// SPDX-License-Identifier: Apache-2.0

// Command e2e prepares a cluster for the end-to-end tests, and does parts of that for the Makefile:
//
//	e2e images                                    builds the container images into dist/
//	e2e install --cluster local|kind|current      starts the local cluster if needed and installs the operator
//	e2e prepare --cluster local|kind|current      all that the tests need
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/weir-stream/weir/hack/e2e/stage"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return fmt.Errorf("usage: e2e images|install|prepare [--cluster %s]", stage.Kinds)
	}
	flags := flag.NewFlagSet(args[0], flag.ContinueOnError)
	kind := flags.String("cluster", string(stage.Local), stage.Kinds)
	if err := flags.Parse(args[1:]); err != nil {
		return err
	}
	begin := time.Now()
	c, err := stage.Open(stage.Kind(*kind), func(format string, args ...any) {
		fmt.Fprintf(os.Stdout, "[%5.1fs] %s\n", time.Since(begin).Seconds(), fmt.Sprintf(format, args...))
	})
	if err != nil {
		return err
	}
	switch args[0] {
	case "images":
		return c.Build(ctx, stage.Images())
	case "install":
		return install(ctx, c)
	case "prepare":
		return c.Prepare(ctx)
	default:
		return fmt.Errorf("unknown command %q", args[0])
	}
}

// install brings the operator to a cluster.
func install(ctx context.Context, c *stage.Cluster) error {
	own := stage.Images()[:1]
	if err := c.Up(ctx); err != nil {
		return err
	}
	if err := c.Build(ctx, own); err != nil {
		return err
	}
	if err := c.Load(ctx, own); err != nil {
		return err
	}
	return c.InstallOperator(ctx)
}
