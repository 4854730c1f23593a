// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
	"github.com/weir-stream/weir/controllers/jobconfig"
	"github.com/weir-stream/weir/controllers/streamjob/resources"
	"github.com/weir-stream/weir/runtime/coordinator"
)

func (a *App) validateCommand() *cobra.Command {
	return &cobra.Command{
		Use: "validate FILE", GroupID: "other", Args: exactArgs("FILE"),
		Short: "Check a StreamJob or StreamSnapshot as the API server and the engine would",
		Long: `Check a StreamJob: the schema and the rules of the custom resource, then the dataflow with
every expression in it. What runs on this machine but not on Kubernetes is said on standard error.
Or check a StreamSnapshot: the schema and the rules, and whether its path is in its storage.
"-" reads standard input.`,
		RunE: func(c *cobra.Command, args []string) error {
			text, err := readFile(args[0])
			if err != nil {
				return err
			}
			switch kind := jobconfig.KindOf(text); kind {
			case "StreamSnapshot":
				return a.validateSnapshot(c.Context(), args[0], text)
			case "StreamJob", "":
				return a.validateJob(c.Context(), args[0], text)
			default:
				return fmt.Errorf("%s: kind: Invalid value: %q: must be StreamJob or StreamSnapshot", args[0], kind)
			}
		},
	}
}

func (a *App) validateJob(ctx context.Context, file string, text []byte) error {
	job, cfg, err := parseJob(ctx, file, text)
	if err != nil {
		return err
	}
	if job.Spec.Program != nil {
		a.printf("%s: StreamJob %q is valid; its graph is built and checked by its program alone\n", file, cfg.Name)
	} else {
		if err := checkGraph(cfg); err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		a.printf("%s: StreamJob %q is valid\n", file, cfg.Name)
	}
	for _, problem := range resources.Check(job) {
		_, _ = fmt.Fprintf(a.Err, "%s: not for Kubernetes as it is: %s\n", file, problem)
	}
	return nil
}

func (a *App) validateSnapshot(ctx context.Context, file string, text []byte) error {
	snapshot, err := jobconfig.ValidateSnapshot(ctx, text)
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	if s := snapshot.Spec.Storage; s != nil {
		at := storageLocation(s)
		if _, inside := coordinator.Relative(string(snapshot.Spec.Path), at); !inside {
			return fmt.Errorf("%s: %w", file, &jobconfig.InvalidError{Kind: "StreamSnapshot", Name: snapshot.Name, Problems: []string{
				fmt.Sprintf("spec.path: Invalid value: %q: it is not in spec.storage, %s", snapshot.Spec.Path, at),
			}})
		}
	}
	a.printf("%s: StreamSnapshot %q is valid\n", file, snapshot.Name)
	return nil
}

// storageLocation is what the paths of snapshots in a storage begin with.
func storageLocation(s *streamv1.Storage) string {
	if s.Volume != nil {
		return s.Volume.Path
	}
	return strings.TrimSuffix("s3://"+s.S3.Bucket+"/"+strings.Trim(s.S3.Prefix, "/"), "/")
}
