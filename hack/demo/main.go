// SPDX-License-Identifier: Apache-2.0

// Command demo shows Weir on a cluster: S3, the operator, a declarative word count that is edited while text arrives, and counts
// that come out as those of the tools of the shell. It leaves the cluster up; --down removes all of it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/weir-stream/weir/hack/e2e/stage"
)

// errDifferent means that the demonstration came to other counts.
var errDifferent = errors.New("DIFFERENT: the counts are not those of tr | sort | uniq -c")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx)
	stop()
	switch {
	case errors.Is(err, errDifferent):
		fmt.Fprintln(os.Stdout, err)
		os.Exit(1)
	case err != nil:
		fmt.Fprintln(os.Stderr, "The demonstration failed:", err)
		os.Exit(1)
	}
}

var begin = time.Now()

// sayf prints a step.
func sayf(format string, args ...any) {
	fmt.Fprintf(os.Stdout, "[%5.1fs] %s\n", time.Since(begin).Seconds(), fmt.Sprintf(format, args...))
}

func run(ctx context.Context) error {
	kind := flag.String("cluster", string(stage.Local), stage.Kinds)
	down := flag.Bool("down", false, "remove what the demonstration left, the local cluster included")
	flag.Parse()
	c, err := stage.Open(stage.Kind(*kind), sayf)
	if err != nil {
		return err
	}
	if *down {
		return remove(ctx, c)
	}
	d := &demo{cluster: c}
	if err := d.prepare(ctx); err != nil {
		return err
	}
	defer d.close()
	return d.show(ctx)
}

// remove takes everything away again.
func remove(ctx context.Context, c *stage.Cluster) error {
	if c.Kind == stage.Local {
		return c.Down(ctx)
	}
	sayf("Removing the job, the S3 server and the operator")
	if _, err := c.Kubectl(ctx, "delete", "namespace", namespace, stage.Namespace, "--ignore-not-found"); err != nil {
		return err
	}
	_, err := c.Kubectl(ctx, "delete", "-k", "config/default", "--ignore-not-found")
	return err
}
