// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/weir-stream/weir/cmd/weir/internal/cluster"
)

// jobFlags say which job a command is about: a StreamJob of a cluster by its name JOB, or any job by the address of its control API.
type jobFlags struct {
	apiFlags
	cluster cluster.Options
	noWait  bool
}

// forKey marks flags that are good for one of the two ways only.
const (
	forKey     = "weir_for"
	forAPI     = "--api"
	forCluster = "JOB"
)

func (f *jobFlags) add(c *cobra.Command, timeout time.Duration) {
	f.apiFlags.add(c, timeout)
	only(c, forAPI, "tls")
	f.addCluster(c)
}

// addCluster adds the flags that say which cluster is meant, named as those of kubectl.
func (f *jobFlags) addCluster(c *cobra.Command) {
	c.Flags().StringVar(&f.cluster.Kubeconfig, "kubeconfig", "", "kubeconfig file (default $KUBECONFIG, or ~/.kube/config)")
	c.Flags().StringVar(&f.cluster.Context, "context", "", "context of the kubeconfig (default the current one)")
	c.Flags().StringVarP(&f.cluster.Namespace, "namespace", "n", "", "namespace of JOB (default that of the context)")
	only(c, forCluster, "kubeconfig", "context", "namespace")
}

// addWait adds --wait. It is true unless --wait=false is given.
func (f *jobFlags) addWait(c *cobra.Command) {
	v := c.Flags().VarPF(&negated{&f.noWait}, "wait", "", "wait until it is done; progress goes to standard error")
	v.NoOptDefVal = "true"
	only(c, forCluster, "wait")
}

// addOperation adds --operation-id, which only the control API takes.
func (f *jobFlags) addOperation(c *cobra.Command) {
	c.Flags().StringVar(&f.operation, "operation-id", "", "id of the operation asked of --api; repeating a command with the same id starts nothing new")
	only(c, forAPI, "operation-id")
}

// only marks flags as good for one way of naming a job.
func only(c *cobra.Command, way string, names ...string) {
	for _, name := range names {
		if err := c.Flags().SetAnnotation(name, forKey, []string{way}); err != nil {
			panic(err) // the flag is not there
		}
	}
}

// job returns the name of the StreamJob; empty when --api names the job.
func (f *jobFlags) job(c *cobra.Command, args []string) (string, error) {
	name, way := "", forAPI
	if len(args) == 1 {
		name, way = args[0], forCluster
	}
	var err error
	switch {
	case name == "" && f.addr == "":
		err = errors.New("JOB or --api ADDR is missing: name a StreamJob of a cluster, or the control API of a job")
	case name != "" && f.addr != "":
		err = errors.New("JOB and --api are both given: leave one of them out")
	default:
		c.Flags().Visit(func(flag *pflag.Flag) {
			if w := flag.Annotations[forKey]; len(w) == 1 && w[0] != way {
				err = fmt.Errorf("--%s is for jobs that are named by %s", flag.Name, w[0])
			}
		})
	}
	if err != nil {
		return "", &usageError{err: err, command: c.CommandPath()}
	}
	return name, nil
}

// oneJob takes at most one argument, JOB.
func oneJob(c *cobra.Command, args []string) error {
	if len(args) <= 1 {
		return nil
	}
	return &usageError{err: fmt.Errorf("%q is one argument too many", args[1]), command: c.CommandPath()}
}

// noJob takes no argument, and says what is for a StreamJob of a cluster.
func noJob(instead string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) == 0 {
			return nil
		}
		return &usageError{err: fmt.Errorf("it takes no arguments, but %q is given: %s", args[0], instead), command: c.CommandPath()}
	}
}

// negated is a boolean flag that is kept as its opposite.
type negated struct{ not *bool }

// Set takes "true" or "false".
func (n *negated) Set(text string) error {
	switch text {
	case "true":
		*n.not = false
	case "false":
		*n.not = true
	default:
		return fmt.Errorf("%q is neither true nor false", text)
	}
	return nil
}

// String returns "true" or "false".
func (n *negated) String() string { return fmt.Sprint(n.not == nil || !*n.not) }

// Type is shown in the help.
func (n *negated) Type() string { return "bool" }

// errInterrupted ends a wait on Ctrl-C.
var errInterrupted = errors.New("interrupted; what was asked for goes on")

// bounded returns a context that ends after d and with the first signal.
func (a *App) bounded(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	ctx, interrupt := context.WithCancelCause(ctx)
	ctx, cancel := context.WithTimeout(ctx, d)
	signals := a.takeSignals()
	go func() {
		select {
		case <-signals:
			interrupt(errInterrupted)
		case <-ctx.Done():
		}
	}()
	return ctx, func() { cancel(); interrupt(nil) }
}

// timeoutError says that something was not waited for any longer. It may still happen.
type timeoutError struct{ err error }

// Error returns what was waited for.
func (e *timeoutError) Error() string { return e.err.Error() }

// Unwrap returns what was waited for.
func (e *timeoutError) Unwrap() error { return e.err }

// waiting makes an error of a wait that took too long one with an exit code of its own.
func waiting(err error) error {
	if errors.Is(err, context.DeadlineExceeded) {
		return &timeoutError{err: err}
	}
	return err
}
