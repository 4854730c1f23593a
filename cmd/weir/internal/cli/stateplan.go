// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/weir-stream/weir/runtime/program"
	"github.com/weir-stream/weir/runtime/program/declarative"
)

// planCommand shows what would become of the state of a snapshot.
func (a *App) planCommand(o *program.SnapshotOptions) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use: "plan SNAPSHOT FILE", Args: exactArgs("SNAPSHOT", "FILE"),
		Short: "Show what would become of the state if a StreamJob started from a snapshot",
		Long: `Build the graph of the StreamJob in FILE and show of each operator whether it takes its state from SNAPSHOT, starts empty, or can't take it, and what
would be dropped. Nothing is written. The exit code is 1 if the job could not start from it.

The graph of a spec.program is known to its own binary alone: weir config FILE prints the configuration for its command plan.`,
		RunE: func(c *cobra.Command, args []string) error {
			job, cfg, err := loadJob(c.Context(), args[1])
			if err != nil {
				return err
			}
			if job.Spec.Program != nil {
				return fmt.Errorf("%s: only the program knows its graph: weir config %s > job.json, and then its binary with: plan %s --job job.json",
					args[1], args[1], args[0])
			}
			plan, err := program.PlanState(c.Context(), args[0], cfg, declarative.Build, *o)
			if err != nil {
				return err
			}
			return program.PrintStatePlan(a.Out, plan, asJSON)
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}
