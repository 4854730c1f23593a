// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
	"github.com/weir-stream/weir/controllers/jobconfig"
	"github.com/weir-stream/weir/runtime/contract"
	"github.com/weir-stream/weir/runtime/transport"
)

func (a *App) otherCommands() []*cobra.Command {
	return []*cobra.Command{
		a.snapshotCommand(), a.validateCommand(), a.configCommand(), a.certsCommand(), a.versionCommand(),
	}
}

// maxFile bounds a job file; the API server takes no more either.
const maxFile = 3 << 20

// readFile reads a job file; "-" is standard input.
func readFile(path string) ([]byte, error) {
	f := os.Stdin
	if path != "-" {
		var err error
		if f, err = os.Open(path); err != nil {
			return nil, fmt.Errorf("opening the job file: %w", err)
		}
		defer func() { _ = f.Close() }()
	}
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("reading the job file %s: %w", path, err)
	}
	return b, nil
}

// loadJob reads a StreamJob and translates it for the engine.
func loadJob(ctx context.Context, path string) (*streamv1.StreamJob, contract.JobConfig, error) {
	b, err := readFile(path)
	if err != nil {
		return nil, contract.JobConfig{}, err
	}
	return parseJob(ctx, path, b)
}

// parseJob checks a StreamJob that was read from path and translates it for the engine.
func parseJob(ctx context.Context, path string, b []byte) (*streamv1.StreamJob, contract.JobConfig, error) {
	job, err := jobconfig.Validate(ctx, b)
	if err != nil {
		return nil, contract.JobConfig{}, fmt.Errorf("%s: %w", path, err)
	}
	cfg, err := jobconfig.ToContract(job)
	if err != nil {
		return nil, contract.JobConfig{}, fmt.Errorf("%s: %w", path, err)
	}
	return job, cfg, nil
}

func (a *App) configCommand() *cobra.Command {
	return &cobra.Command{
		Use: "config FILE", GroupID: "other", Args: exactArgs("FILE"),
		Short: "Print a StreamJob as the JSON that engine coordinator takes",
		RunE: func(c *cobra.Command, args []string) error {
			_, cfg, err := loadJob(c.Context(), args[0])
			if err != nil {
				return err
			}
			return printJSON(a.Out, cfg)
		},
	}
}

func (a *App) certsCommand() *cobra.Command {
	var hosts []string
	var replace bool
	c := &cobra.Command{
		Use: "certs DIR", GroupID: "other", Args: exactArgs("DIR"),
		Short: "Make a set of certificates for trying mutual TLS",
		Long: `Make an authority and, signed by it, a certificate and key each for a coordinator, its workers and
callers of its control API. The key of the authority is not kept, so nothing can be added to a set: a
directory that holds one is left alone, unless it is to be replaced as a whole.`,
		RunE: func(_ *cobra.Command, args []string) error {
			if ca := transport.CertFiles(args[0], "client").CAFile; !replace {
				if _, err := os.Lstat(ca); err == nil {
					return fmt.Errorf("%s is there already: give another directory, or make a new set in its place with --replace", ca)
				}
			}
			if err := transport.GenerateCerts(args[0], hosts); err != nil {
				if errors.Is(err, fs.ErrPermission) {
					return fmt.Errorf("%w: give a directory that you may write to", err)
				}
				return err
			}
			a.printf("wrote ca.crt and certificate and key of coordinator, worker and client to %s\n", args[0])
			return nil
		},
	}
	c.Flags().StringSliceVar(&hosts, "host", nil, "further host names and addresses the certificates are good for")
	c.Flags().BoolVar(&replace, "replace", false, "write over the set that DIR holds")
	return c
}

func (a *App) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", GroupID: "other", Args: exactArgs(),
		Short: "Print the version",
		RunE: func(*cobra.Command, []string) error {
			a.printf("weir %s\n", a.Version)
			return nil
		},
	}
}

// clientTLS returns the TLS configuration of a caller of the control API from a set of weir certs.
func clientTLS(dir string) (*tls.Config, error) {
	return transport.CertFiles(dir, "client").Client(transport.RoleCoordinator)
}
