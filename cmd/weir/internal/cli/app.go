// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/weir-stream/weir/cmd/weir/internal/cluster"
)

// App is what the commands use of the world outside.
type App struct {
	// Out takes results, Err everything else.
	Out, Err io.Writer
	// Signals delivers interrupts; the first asks a job to stop, the second cancels it.
	Signals <-chan os.Signal
	// TakeSignals makes Signals deliver them; until then they end the program. nil: they are delivered from the start.
	TakeSignals func()
	// Now is the clock.
	Now func() time.Time
	// Version of the build.
	Version string
	// Plugin says that this is "kubectl weir".
	Plugin bool
	// Open connects to a cluster; nil: as the kubeconfig says.
	Open func(cluster.Options) (*cluster.Cluster, error)
}

// The exit codes.
const (
	exitOK = 0
	// exitFailed says that what was asked for did not happen.
	exitFailed = 1
	// exitUsage says that the command line is wrong.
	exitUsage = 2
	// exitTimeout says that it was not waited for any longer; it may still happen.
	exitTimeout = 3
)

// usageError is a mistake on the command line; it is shown with a hint to the help.
type usageError struct {
	err     error
	command string
}

// Error returns the mistake.
func (e *usageError) Error() string { return e.err.Error() }

// Unwrap returns the mistake.
func (e *usageError) Unwrap() error { return e.err }

// takeSignals is for what looks at signals from now on.
func (a *App) takeSignals() <-chan os.Signal {
	if a.TakeSignals != nil {
		a.TakeSignals()
	}
	return a.Signals
}

// Run carries out a command line and returns the exit code.
func (a *App) Run(ctx context.Context, args []string) int {
	root := a.root() //nolint:contextcheck // commands get theirs from ExecuteContext
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	_, _ = fmt.Fprintf(a.Err, "weir: %v\n", err)
	if u, ok := errors.AsType[*usageError](err); ok {
		_, _ = fmt.Fprintf(a.Err, "Try '%s --help'.\n", u.command)
		return exitUsage
	}
	if _, ok := errors.AsType[*timeoutError](err); ok {
		return exitTimeout
	}
	return exitFailed
}

func (a *App) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "weir",
		Short: "Run stateful streaming jobs and look after them",
		Long: `weir looks after the StreamJobs of a Kubernetes cluster, runs a StreamJob on this machine, and looks into the
snapshots that jobs leave in storage. As kubectl-weir in the PATH it is the kubectl plugin "kubectl weir".`,
		SilenceUsage:      true,
		SilenceErrors:     true,
		CompletionOptions: cobra.CompletionOptions{HiddenDefaultCmd: true},
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) > 0 {
				return &usageError{err: fmt.Errorf("unknown command %q", args[0]), command: c.CommandPath()}
			}
			return c.Help()
		},
		Args: cobra.ArbitraryArgs,
	}
	if a.Plugin {
		root.Annotations = map[string]string{cobra.CommandDisplayNameAnnotation: "kubectl weir"}
	}
	root.SetOut(a.Out)
	root.SetErr(a.Err)
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return &usageError{err: err, command: c.CommandPath()}
	})
	root.AddGroup(
		&cobra.Group{ID: "control", Title: "Look after a job, in a cluster by its name or anywhere by --api:"},
		&cobra.Group{ID: "address", Title: "Look after a job by --api only:"},
		&cobra.Group{ID: "job", Title: "Run a job:"},
		&cobra.Group{ID: "other", Title: "Look and prepare:"},
	)
	root.SetHelpCommandGroupID("other")
	root.AddCommand(a.jobCommands()...)
	root.AddCommand(a.controlCommands()...)
	root.AddCommand(a.otherCommands()...)
	return root
}

// exactArgs is cobra.ExactArgs with a message that names what is wanted.
func exactArgs(names ...string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) == len(names) {
			return nil
		}
		err := fmt.Errorf("%d arguments are given", len(args))
		switch {
		case len(args) < len(names):
			err = fmt.Errorf("%s is missing", names[len(args)])
		case len(names) == 0:
			err = fmt.Errorf("it takes no arguments, but %q is given", args[0])
		case len(args) > len(names):
			err = fmt.Errorf("%q is one argument too many", args[len(names)])
		}
		return &usageError{err: err, command: c.CommandPath()}
	}
}

func (a *App) printf(format string, args ...any) {
	_, _ = fmt.Fprintf(a.Out, format, args...)
}
