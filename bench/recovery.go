// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/weir-stream/weir/runtime/contract"
)

const (
	// recoveryKeys have counts of 100 MB: 16 bytes each.
	recoveryKeys = 6_250_000
	// recoveryDelay is the delay of the restart, a part of what is measured.
	recoveryDelay = 50 * time.Millisecond
	// fullEnough is the share of all keys that must be in a checkpoint before a worker is killed.
	fullEnough = 0.98
	pollStatus = 10 * time.Millisecond
)

// killAndWatch kills a worker once the state is full, waits until the job has got over it, and stops the job.
func (m *measurement) killAndWatch(ctx context.Context, signals chan<- os.Signal, ended <-chan error) error {
	defer m.client.Close()
	if err := m.started(ctx, ended); err != nil {
		return err
	}
	full, err := m.until(ctx, ended, func(s *contract.JobStatus) bool {
		return s.LastCheckpoint != nil && float64(s.LastCheckpoint.SizeBytes) >= fullEnough*16*float64(m.s.keys)
	})
	if err != nil {
		return err
	}
	m.out.StateMiB = float64(full.LastCheckpoint.SizeBytes) / mebi
	if m.killedAt, err = killChild(); err != nil {
		return err
	}
	var restored int64
	_, err = m.until(ctx, ended, func(s *contract.JobStatus) bool {
		if s.Restarts == 0 || s.State != contract.JobRunning || s.LastCheckpoint == nil {
			return false
		}
		if restored == 0 {
			restored = s.LastCheckpoint.ID
		}
		return s.LastCheckpoint.ID > restored
	})
	if err != nil {
		return err
	}
	signals <- os.Interrupt
	return m.end(ctx, ended)
}

// until asks for the status of the job until it is as wanted.
func (m *measurement) until(ctx context.Context, ended <-chan error, wanted func(*contract.JobStatus) bool) (*contract.JobStatus, error) {
	tick := time.NewTicker(pollStatus)
	defer tick.Stop()
	for {
		s, err := m.client.Job(ctx)
		if err != nil {
			return nil, fmt.Errorf("asking how the job is: %w", err)
		}
		if wanted(s) {
			return s, nil
		}
		select {
		case err := <-ended:
			return nil, endedEarly(err)
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-tick.C:
		}
	}
}

// killChild kills the first process that this one started, and says when.
func killChild() (time.Time, error) {
	var b []byte
	// A child belongs to the thread that started it.
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return time.Time{}, fmt.Errorf("looking for worker processes: %w", err)
	}
	for _, t := range tasks {
		more, err := os.ReadFile("/proc/self/task/" + t.Name() + "/children")
		if err == nil {
			b = append(b, more...)
		}
	}
	for f := range strings.FieldsSeq(string(b)) {
		pid, err := strconv.Atoi(f)
		if err != nil {
			continue
		}
		now := time.Now()
		return now, syscall.Kill(pid, syscall.SIGKILL)
	}
	return time.Time{}, errors.New("looking for worker processes: there are none")
}

// recovered works out how long it took until a sink had a row again.
func (m *measurement) recovered(r *readback) error {
	sinks, err := r.marks("sink")
	if err != nil {
		return err
	}
	first := int64(0)
	for _, s := range sinks {
		if s.First > m.killedAt.UnixNano() && (first == 0 || s.First < first) {
			first = s.First
		}
	}
	if first == 0 {
		return errors.New("no sink had a row after the worker was killed")
	}
	m.out.RecoveryMillis = float64(first-m.killedAt.UnixNano()) / 1e6
	return nil
}
