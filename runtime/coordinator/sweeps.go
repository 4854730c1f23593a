// SPDX-License-Identifier: Apache-2.0

package coordinator

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/weir-stream/weir/runtime/contract"
	"github.com/weir-stream/weir/runtime/snapshot"
	"github.com/weir-stream/weir/runtime/snapshot/sweep"
)

const (
	// sweepInterval is how much time is between two looks for orphans. An orphan is older than a day before it counts, so more often finds little more.
	sweepInterval = 24 * time.Hour
	// firstSweep is when the first look is, and how much later at most: coordinators that were started together, as after the loss of a node, don't list their storage at
	// the same time. It is far below the interval, because the coordinator of a job that is edited often doesn't live for a day.
	firstSweep = 30 * time.Minute
	// sweepRetry is when a look that failed is repeated.
	sweepRetry = time.Hour
	// orphansLogged is how many of the orphans are logged, each with its path.
	orphansLogged = 100
)

// sweeps looks for orphans in the directory of the job, now and then, until ctx ends. It needs no claim: of two coordinators that sweep neither deletes what is needed.
func (l *loop) sweeps(ctx context.Context) {
	t := time.NewTimer(firstSweep + rand.N(firstSweep))
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		r, err := sweep.Sweep(ctx, l.o.Store, l.prepared.dir, sweep.Options{Now: time.Now, Savepoints: l.prepared.cfg.Storage.SavepointDir()})
		if ctx.Err() != nil {
			return
		}
		next := sweepInterval
		if err != nil {
			next = sweepRetry
		} else {
			l.logOrphans(r)
		}
		t.Reset(next)
		if l.c.post(ctx, func(l *loop) { l.sweptNow(r, err) }) != nil {
			return
		}
	}
}

// logOrphans tells of what was deleted, and of what nobody deletes. It runs beside the loop.
func (l *loop) logOrphans(r *sweep.Report) {
	for _, o := range r.Unfinished[:min(len(r.Unfinished), orphansLogged)] {
		l.log.Info("Found a savepoint that was never completed", "path", l.located(o.Path), "objects", o.Objects, "bytes", o.Bytes, "modified", o.Modified)
	}
	if !r.Deleted {
		return
	}
	for _, o := range r.Orphans[:min(len(r.Orphans), orphansLogged)] {
		l.log.Info("Deleted an orphan", "path", o.Path, "objects", o.Objects, "bytes", o.Bytes, "modified", o.Modified, "reason", o.Reason)
	}
	objects, bytes := r.Totals()
	l.log.Info("Deleted what nothing refers to", "orphans", len(r.Orphans), "objects", objects, "bytes", bytes)
}

// sweptNow takes the outcome of a look for orphans.
func (l *loop) sweptNow(r *sweep.Report, err error) {
	to := &l.swept
	to.At = time.Now()
	to.Error = ""
	if r != nil && r.Deleted {
		objects, bytes := r.Totals()
		to.Objects += int64(objects)
		to.Bytes += bytes
	}
	if err != nil {
		to.Error = snapshot.CutText(err.Error(), snapshot.MaxText)
		l.log.Info("Orphans could not be swept; it is tried again", "error", to.Error, "after", sweepRetry)
	}
}

// reportSweeps returns what the status says of the looks for orphans, nil before the first one.
func (l *loop) reportSweeps() *contract.Sweeps {
	if l.swept.At.IsZero() {
		return nil
	}
	s := l.swept
	return &s
}
