// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"github.com/weir-stream/weir/runtime/contract"
)

// job is a running "weir run".
type job struct {
	api     string
	client  *contract.Client
	process *exec.Cmd
	ended   chan struct{}
	mu      struct {
		sync.Mutex
		last []string
	}
}

// startJob writes the file of the job for this server and starts it.
func startJob(ctx context.Context, dir string, s3 *server, flags ...string) (*job, error) {
	text, err := os.ReadFile(filepath.Join("hack", "demo", "local", "job.yaml"))
	if err != nil {
		return nil, err
	}
	file := filepath.Join(dir, "job.yaml")
	if err := os.WriteFile(file, []byte(strings.ReplaceAll(string(text), "http://127.0.0.1:7070", s3.endpoint)), 0o600); err != nil {
		return nil, err
	}
	j := &job{ended: make(chan struct{})}
	j.process = exec.Command(filepath.Join("bin", "weir"), append([]string{"run", file}, flags...)...)
	j.process.Env = s3.environment()
	j.process.SysProcAttr = endWithParent()
	r, w := io.Pipe()
	j.process.Stdout, j.process.Stderr = w, w
	if err := j.process.Start(); err != nil {
		return nil, fmt.Errorf("starting weir run: %w", err)
	}
	api := make(chan string, 1)
	go j.read(r, api)
	go func() {
		_ = j.process.Wait()
		_ = w.Close()
		close(j.ended)
	}()
	select {
	case j.api = <-api:
	case <-j.ended:
		return nil, fmt.Errorf("weir run ended:\n%s", j.output())
	case <-ctx.Done():
		j.kill()
		return nil, context.Cause(ctx)
	}
	j.client, err = contract.NewClient(j.api, contract.ClientOptions{})
	return j, err
}

// read keeps the last lines of the output and finds the address of the control API.
func (j *job) read(r io.Reader, api chan<- string) {
	const keep = 20
	for sc := bufio.NewScanner(r); sc.Scan(); {
		line := sc.Text()
		if _, addr, ok := strings.Cut(line, "control API on "); ok {
			select {
			case api <- strings.TrimSpace(addr):
			default:
			}
		}
		j.mu.Lock()
		j.mu.last = append(j.mu.last, line)
		if len(j.mu.last) > keep {
			j.mu.last = j.mu.last[1:]
		}
		j.mu.Unlock()
	}
	_, _ = io.Copy(io.Discard, r)
}

func (j *job) output() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return strings.Join(j.mu.last, "\n")
}

// kill ends the process, if it still runs.
func (j *job) kill() {
	if j == nil || j.process == nil {
		return
	}
	_ = j.process.Process.Kill()
	<-j.ended
}

// until polls the status of the job.
func (j *job) until(ctx context.Context, what string, ready func(*contract.JobStatus) bool) (*contract.JobStatus, error) {
	var s *contract.JobStatus
	err := poll(ctx, what, func() (bool, error) {
		select {
		case <-j.ended:
			return false, fmt.Errorf("waiting for %s: the job ended:\n%s", what, j.output())
		default:
		}
		got, err := j.client.Job(ctx)
		if err != nil {
			return false, nil //nolint:nilerr // the API may not serve yet; the time limit of poll holds
		}
		s = got
		return ready(s), nil
	})
	if err != nil && s != nil {
		err = fmt.Errorf("%w (the job is %s: %s)\n%s", err, s.State, s.Message, j.output())
	}
	return s, err
}

// killWorker kills the first worker process.
func (j *job) killWorker() (int, error) {
	pids, err := children(j.process.Process.Pid)
	if err != nil {
		return 0, err
	}
	if len(pids) == 0 {
		return 0, errors.New("the job has no worker processes")
	}
	return pids[0], syscall.Kill(pids[0], syscall.SIGKILL)
}

// children lists the child processes of all threads of a process.
func children(pid int) ([]int, error) {
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil {
		return nil, err
	}
	var pids []int
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			continue // the thread ended
		}
		for w := range strings.FieldsSeq(string(b)) {
			n, err := strconv.Atoi(w)
			if err != nil {
				return nil, err
			}
			pids = append(pids, n)
		}
	}
	return pids, nil
}

// stopWithSavepoint stops the job and returns the path of the savepoint.
func (j *job) stopWithSavepoint(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, stepTimeout)
	defer cancel()
	out, err := exec.CommandContext(ctx, filepath.Join("bin", "weir"), "stop", "--api", j.api).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("stopping the job: %w\n%s\n%s", err, out, j.output())
	}
	select {
	case <-j.ended:
	case <-ctx.Done():
		return "", fmt.Errorf("waiting for the job to end after its stop: %w\n%s", context.Cause(ctx), j.output())
	}
	return strings.TrimSpace(string(out)), nil
}
