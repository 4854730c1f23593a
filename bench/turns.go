// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/weir-stream/weir/runtime/contract"
)

const (
	// turnLength is how long one job has checkpoints, and how long it has none, in turns; between turns is turnGap, in which the last checkpoint ends.
	turnLength = time.Second
	turnGap    = 100 * time.Millisecond
	// warmUp is how long the tables fill before the first turn, and warmUpCheckpoints how many checkpoints come before it: the first ones take memory that is new to the process.
	warmUp            = 2 * time.Second
	warmUpCheckpoints = 3
	// never is the interval of checkpoints that are asked for only.
	never = time.Hour
)

// takeTurns measures what checkpoints leave of the rate in one process, whose turns with checkpoints and without follow each other. From process to process the rate of one
// job differs by more than checkpoints cost, and so it does from minute to minute on many machines.
func (m *measurement) takeTurns(ctx context.Context, signals chan<- os.Signal, ended <-chan error) error {
	defer m.client.Close()
	if err := m.started(ctx, ended); err != nil {
		return err
	}
	if err := m.pass(ctx, ended, time.Now().Add(warmUp)); err != nil {
		return err
	}
	for range warmUpCheckpoints {
		op, err := m.checkpoint(ctx)
		if err == nil {
			_, err = m.client.WaitOperation(ctx, op.ID)
		}
		if err != nil {
			return fmt.Errorf("taking a checkpoint before the first turn: %w", err)
		}
	}
	var rates []float64 // the even ones are without checkpoints
	for end := time.Now().Add(m.duration()); len(rates) < 3 || len(rates)%2 == 0 || time.Now().Before(end); {
		rate, err := m.turn(ctx, ended, len(rates)%2 == 1)
		if err != nil {
			return err
		}
		rates = append(rates, rate)
	}
	m.out.Left = left(rates)
	if err := m.look(ctx); err != nil {
		return err
	}
	if m.out.Checkpoints < int64(m.asked) {
		return fmt.Errorf("%d checkpoints completed of the %d that were asked for", m.out.Checkpoints, m.asked)
	}
	signals <- os.Interrupt
	return m.end(ctx, ended)
}

// turn returns the rate of a turn.
func (m *measurement) turn(ctx context.Context, ended <-chan error, checkpoints bool) (float64, error) {
	begin, before := time.Now(), m.emitted.Load()
	for at := time.Duration(0); checkpoints && at < turnLength; at += m.s.turns {
		if err := m.pass(ctx, ended, begin.Add(at)); err != nil {
			return 0, err
		}
		if _, err := m.checkpoint(ctx); err != nil {
			return 0, fmt.Errorf("asking for a checkpoint: %w", err)
		}
	}
	if err := m.pass(ctx, ended, begin.Add(turnLength)); err != nil {
		return 0, err
	}
	rate := float64(m.emitted.Load()-before) / time.Since(begin).Seconds()
	return rate, m.pass(ctx, ended, time.Now().Add(turnGap))
}

// checkpoint asks for a checkpoint.
func (m *measurement) checkpoint(ctx context.Context) (*contract.Operation, error) {
	m.asked++
	return m.client.Checkpoint(ctx, contract.CheckpointRequest{OperationID: "turn-" + strconv.Itoa(m.asked)})
}

// pass returns at a time, or with an error if the job ends before it.
func (m *measurement) pass(ctx context.Context, ended <-chan error, until time.Time) error {
	select {
	case err := <-ended:
		return endedEarly(err)
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(time.Until(until)):
		return nil
	}
}

// left is the median of what each turn with checkpoints had of the mean rate of the turns before and after it. The turns at even places are without.
func left(rates []float64) float64 {
	var shares []float64
	for i := 1; i+1 < len(rates); i += 2 {
		shares = append(shares, 2*rates[i]/(rates[i-1]+rates[i+1]))
	}
	return median(shares)
}
