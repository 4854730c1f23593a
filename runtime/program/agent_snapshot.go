// SPDX-License-Identifier: Apache-2.0

package program

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"

	"github.com/spf13/cobra"

	"github.com/weir-stream/weir/runtime/contract"
	"github.com/weir-stream/weir/runtime/coordinator"
	"github.com/weir-stream/weir/runtime/snapshot/reclaim"
	"github.com/weir-stream/weir/runtime/storage"
)

// snapshotFlags are those of the tasks that are about one snapshot, of whatever job.
type snapshotFlags struct {
	storage, path, pin string
	identity           reclaim.Identity
}

// snapshotTask is the command of a task that is about one snapshot.
func (c Command) snapshotTask(signals <-chan os.Signal, f *agentFlags, name, short string) *cobra.Command {
	cmd := &cobra.Command{
		Use: strings.ToLower(name), Short: short, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := untilSignal(cmd.Context(), signals)
			defer stop()
			ctx, cancel := context.WithTimeout(ctx, f.timeout)
			defer cancel()
			r, err := f.snapshotResult(ctx, name)
			if err != nil {
				r.OK, r.Problem = false, snapshotProblem(err)
			}
			return f.tell(r)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.storage, "storage", "", "storage of the snapshot, as JSON, as in the configuration of a job")
	flags.StringVar(&f.path, "path", "", "directory of the snapshot")
	flags.StringVar(&f.pin, "pin", "", "name of the pin that keeps it, if it is a checkpoint in the directory of its job")
	if name == contract.AgentRemove {
		flags.StringVar(&f.identity.JobID, "lineage", "", "id of the job that it is of; that of another stays")
		flags.Int64Var(&f.identity.Checkpoint, "checkpoint", 0, "number of it; another one stays")
	}
	return cmd
}

func (f *snapshotFlags) snapshotResult(ctx context.Context, task string) (contract.AgentResult, error) {
	r := contract.AgentResult{Task: task}
	var cfg contract.Storage
	if err := json.Unmarshal([]byte(f.storage), &cfg); err != nil {
		return r, &coordinator.InvalidJobError{Err: fmt.Errorf("reading --storage: %w", err)}
	}
	s, err := openStorage(ctx, &cfg)
	if err != nil {
		return r, err
	}
	defer s.close()
	rel, inside := coordinator.Relative(f.path, s.location)
	if !inside {
		return r, &reclaim.PathError{Path: f.path, Detail: "it is not in the storage " + s.location}
	}
	if withinJob(s.location, rel) {
		return r, &reclaim.PathError{Path: f.path, Detail: "the storage " + s.location + " begins inside the directory of a job, whose head isn't seen from there: name the storage as the job does"}
	}
	if task == contract.AgentRemove {
		removed, err := reclaim.Remove(ctx, s.store, rel, f.pin, f.identity)
		if err != nil {
			return r, err
		}
		r.OK, r.Deleted = true, removed.Deleted
		if removed.Left != "" {
			r.Warnings = append(r.Warnings, removed.Left)
		}
		return r, nil
	}
	found, err := reclaim.Inspect(ctx, s.store, rel, f.pin)
	if found != nil {
		r.JobID, r.Pinned = found.Manifest.JobID, found.Pinned
		r.Snapshot = &contract.SnapshotInfo{
			ID: found.Manifest.Checkpoint, Kind: "Checkpoint", CompletedAt: found.Manifest.CreatedAt, SizeBytes: found.Manifest.StateSize(),
			Path: strings.TrimSuffix(s.location, "/") + "/" + found.Dir,
		}
		if found.Savepoint() {
			r.Snapshot.Kind = "Savepoint"
		}
	}
	r.OK = err == nil
	return r, err
}

// ofJob is the path of a checkpoint in the directory of its job, as far as that lies within a storage.
var ofJob = regexp.MustCompile(`(^|/)[0-9a-f]{10,}/checkpoints/chk-[0-9]+(/|$)`)

// withinJob says that a path is that of a checkpoint in the directory of its job, and that the storage begins below that: then nothing that is in the storage says
// what the job needs.
func withinJob(location, path string) bool {
	return ofJob.MatchString(strings.TrimSuffix(location, "/")+"/"+path) && !ofJob.MatchString(path)
}

// snapshotProblem classifies an error of a task that is about one snapshot.
func snapshotProblem(err error) *contract.Problem {
	if e, ok := errors.AsType[*reclaim.InUseError](err); ok {
		return &contract.Problem{Reason: contract.InUse, Message: e.Error(), Remedy: "end what needs it, or keep the snapshot"}
	}
	if e, ok := errors.AsType[*reclaim.PathError](err); ok {
		return &contract.Problem{Reason: contract.RestoreNotFound, Message: e.Error()}
	}
	if e, ok := errors.AsType[*reclaim.HeadError](err); ok {
		return &contract.Problem{Reason: contract.RestoreCorrupt, Message: e.Error(), Remedy: "put it back from a backup; or, if the job is gone for good, delete the head"}
	}
	p := coordinator.ProblemOf(err)
	if errors.Is(err, storage.ErrNotFound) && p.Reason == contract.RestoreNotFound {
		p.Remedy = "weir snapshot ls lists the snapshots of a job; a checkpoint that newer ones have replaced is gone: take a savepoint, or keep more by checkpointing.retention.count"
	}
	return p
}
