// SPDX-License-Identifier: Apache-2.0

// Command demo shows the main job end to end on this machine: a declarative word count with S3
// storage and real worker processes that loses a worker, is stopped with a savepoint, goes on
// at another parallelism, and comes to the same counts as the tools of the shell.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/weir-stream/weir/hack/demo/words"
	"github.com/weir-stream/weir/runtime/contract"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := demo(ctx)
	stop()
	if err != nil {
		sayf("The demonstration failed: %v", err)
		os.Exit(1)
	}
}

var begin = time.Now()

// sayf prints a step.
func sayf(format string, args ...any) {
	fmt.Fprintf(os.Stdout, "[%5.1fs] %s\n", time.Since(begin).Seconds(), fmt.Sprintf(format, args...))
}

// stepTimeout bounds every wait of the demonstration.
const stepTimeout = 3 * time.Minute

func demo(ctx context.Context) (err error) {
	dir, err := os.MkdirTemp("", "weir-demo-")
	if err != nil {
		return err
	}
	defer func() {
		if os.Getenv("KEEP") == "1" {
			sayf("Everything is kept in %s", dir)
			return
		}
		err = errors.Join(err, os.RemoveAll(dir))
	}()
	sayf("Building weir and the S3 server (minutes the first time, then cached in bin/)")
	if err := build(ctx); err != nil {
		return err
	}
	s3, err := startServer(ctx, dir)
	if err != nil {
		return err
	}
	defer s3.stop()
	sayf("VersityGW serves S3 on %s", s3.endpoint)

	first, second, err := words.Gather(ctx, dir)
	if err != nil {
		return err
	}
	return run(ctx, dir, s3, first, second)
}

// run is the demonstration proper.
func run(ctx context.Context, dir string, s3 *server, first, second words.Half) error {
	job, err := startJob(ctx, dir, s3, "--workers", "2")
	if err != nil {
		return err
	}
	defer func() { job.kill() }()
	sayf("The job runs with 2 worker processes, control API on %s", job.api)

	if err := killDuring(ctx, job, s3, first); err != nil {
		return err
	}
	idle, err := job.client.Job(ctx)
	if err != nil {
		return err
	}
	uploads, uploadCtx := errgroup.WithContext(ctx)
	uploads.Go(func() error { return s3.upload(uploadCtx, &second) })
	sayf("The second half of the text arrives in s3://weir/text: %s", &second)
	before, err := job.until(ctx, "some of the second half", func(s *contract.JobStatus) bool {
		return s.State == contract.JobRunning && s.RecordsIn > idle.RecordsIn+int64(second.Lines)/4
	})
	if err != nil {
		return errors.Join(err, uploads.Wait())
	}
	savepoint, err := job.stopWithSavepoint(ctx)
	if err != nil {
		return errors.Join(err, uploads.Wait())
	}
	sayf("Stopped with savepoint %s while it arrives (attempt %s had read %d lines)", savepoint, before.Attempt, before.RecordsIn)

	if job, err = startJob(ctx, dir, s3, "--workers", "3", "--parallelism", "3"); err != nil {
		return errors.Join(err, uploads.Wait())
	}
	s, err := job.until(ctx, "the restored job", func(s *contract.JobStatus) bool { return s.State == contract.JobRunning && s.RestoredFrom != nil })
	if err != nil {
		return errors.Join(err, uploads.Wait())
	}
	sayf("Resumed from %s %d with parallelism %d on 3 worker processes", strings.ToLower(s.RestoredFrom.Kind), s.RestoredFrom.ID, s.Parallelism)
	if err := uploads.Wait(); err != nil {
		return err
	}
	return conclude(ctx, dir, s3, job)
}

// killDuring uploads a half and kills a worker process while the job reads it.
func killDuring(ctx context.Context, job *job, s3 *server, h words.Half) error {
	uploads, uploadCtx := errgroup.WithContext(ctx)
	uploads.Go(func() error { return s3.upload(uploadCtx, &h) })
	sayf("The first half of the text arrives in s3://weir/text: %s", &h)
	s, err := job.until(ctx, "a checkpoint and some lines", func(s *contract.JobStatus) bool {
		return s.LastCheckpoint != nil && s.RecordsIn > int64(h.Lines)/4
	})
	if err != nil {
		return errors.Join(err, uploads.Wait())
	}
	pid, err := job.killWorker()
	if err != nil {
		return errors.Join(err, uploads.Wait())
	}
	sayf("Killed worker process %d with SIGKILL after %d lines; checkpoint %d was complete", pid, s.RecordsIn, s.LastCheckpoint.ID)
	s, err = job.until(ctx, "the restart", func(s *contract.JobStatus) bool {
		return s.Restarts > 0 && s.State == contract.JobRunning && s.RestoredFrom != nil
	})
	if err != nil {
		return errors.Join(err, uploads.Wait())
	}
	sayf("The job runs again, restored from checkpoint %d (restarts: %d)", s.RestoredFrom.ID, s.Restarts)
	return uploads.Wait()
}

// conclude waits until everything is counted, stops the job and compares.
func conclude(ctx context.Context, dir string, s3 *server, job *job) error {
	want, err := words.ByShell(ctx, dir)
	if err != nil {
		return err
	}
	sayf("tr | sort | uniq -c find %d words, %d different ones", want.Total(), len(want))
	store, err := s3.open(ctx, "counts")
	if err != nil {
		return err
	}
	defer store.Close()
	if err := awaitCounts(ctx, words.NewOutput(store), want.Total()); err != nil {
		return err
	}
	savepoint, err := job.stopWithSavepoint(ctx)
	if err != nil {
		return err
	}
	sayf("All input is counted. Stopped with savepoint %s", savepoint)
	return compare(ctx, s3, want)
}

// build makes the binaries.
func build(ctx context.Context) error {
	bin, err := filepath.Abs("bin")
	if err != nil {
		return err
	}
	if err := command(ctx, ".", "go", "build", "-o", filepath.Join(bin, "weir"), "./cmd/weir"); err != nil {
		return err
	}
	gateway := filepath.Join(bin, "versitygw")
	if _, err := os.Stat(gateway); err == nil {
		return nil
	}
	return command(ctx, filepath.Join("hack", "servers"), "go", "build", "-o", gateway, "github.com/versity/versitygw/cmd/versitygw")
}

func command(ctx context.Context, dir, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("running %s %s: %w\n%s", name, strings.Join(args, " "), err, out)
	}
	return nil
}
