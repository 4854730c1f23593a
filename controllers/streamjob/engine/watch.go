// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/weir-stream/weir/controllers/streamjob/plan"
	"github.com/weir-stream/weir/runtime/contract"
)

const (
	// quick is the interval of polls for a while after a command, busy that of a job in motion, calm that of any other.
	quick = 100 * time.Millisecond
	busy  = 250 * time.Millisecond
	calm  = 2 * time.Second
	// commandMotion is how long a command keeps its job in motion by itself.
	commandMotion = 10 * time.Second
	// motion is how long a job that neither runs nor changes counts as in motion.
	motion = time.Minute
	// checkpointsEvery is how often the history of checkpoints is asked for.
	checkpointsEvery = 5 * time.Second
	// checkpointNews is how often it is told that another checkpoint has completed, when nothing else is new; in the time of settling after a change it is
	// as often as the history is asked for.
	checkpointNews = 30 * time.Second
	settling       = time.Minute
)

// watch is the watch of one job at one target.
type watch struct {
	key    types.NamespacedName
	target Target
	// api is nil when there is nobody to ask.
	api  API
	kick chan struct{}
	// done is closed when the watch ends, under the lock of the poller.
	done  chan struct{}
	ended bool

	// report, known and commandedAt are guarded by the lock of the poller. known says that the report is worth something: the
	// coordinator answered or did not, or has no address.
	report      plan.Engine
	known       bool
	commandedAt time.Time

	// The rest belongs to the goroutine that polls.
	told           string
	toldCheckpoint int64
	// historyCheckpoint was the newest when the history of checkpoints was asked for.
	historyCheckpoint int64
	toldAt            time.Time
	changedAt         time.Time
	// settlesAt is when something changed that had been told before.
	settlesAt     time.Time
	checkpointsAt time.Time
}

// end ends the watch. The caller holds the lock of the poller.
func (w *watch) end() {
	if !w.ended {
		w.ended = true
		close(w.done)
	}
}

// inherit hands on what is known to the next watch of the job. A coordinator with a new address has not answered yet, whatever
// the one before did. The caller holds the lock of the poller.
func (w *watch) inherit(next *watch) {
	if w.target.Grant != next.target.Grant {
		return
	}
	since, why := next.report.UnreachableSince, next.report.Error
	next.known = next.known || w.known
	next.report = w.report
	if w.target.Addr == next.target.Addr && next.api != nil {
		return
	}
	if next.report.UnreachableSince.IsZero() {
		next.report.UnreachableSince = since
	}
	next.report.Error = why
}

// run polls until the watch or ctx ends.
func (p *Poller) run(ctx context.Context, w *watch) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer w.api.Close()
	w.changedAt = p.Clock.Now()
	for {
		p.poll(ctx, w)
		timer := p.Clock.NewTimer(p.interval(w))
		select {
		case <-ctx.Done():
		case <-w.done:
		case <-w.kick:
		case <-timer.C():
		}
		timer.Stop()
		select {
		case <-ctx.Done():
			return
		case <-w.done:
			return
		default:
		}
	}
}

// poll asks once, publishes the answer and tells of it when it matters.
func (p *Poller) poll(ctx context.Context, w *watch) {
	status, err := p.askJob(ctx, w)
	if ctx.Err() != nil {
		return
	}
	var history *contract.CheckpointsReport
	if now := p.Clock.Now(); err == nil && (now.Sub(w.checkpointsAt) >= checkpointsEvery || w.outdates(status, now)) {
		// A coordinator that answers the other question is there: without a history the last one stays.
		if h, historyErr := p.askCheckpoints(ctx, w); historyErr == nil {
			history, w.checkpointsAt, w.historyCheckpoint = h, now, checkpointOf(status)
		}
	}
	if report, ok := p.publish(w, status, history, err); ok && w.news(&report, p.Clock.Now()) {
		select {
		case p.changes <- Change{Object: w.key}:
		case <-ctx.Done():
		case <-w.done:
		}
	}
}

func (p *Poller) askJob(ctx context.Context, w *watch) (*contract.JobStatus, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	return w.api.Job(ctx)
}

func (p *Poller) askCheckpoints(ctx context.Context, w *watch) (*contract.CheckpointsReport, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	return w.api.Checkpoints(ctx)
}

// publish makes an answer the report of the job. It returns false when the watch has ended meanwhile.
func (p *Poller) publish(w *watch, status *contract.JobStatus, history *contract.CheckpointsReport, err error) (plan.Engine, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if w.ended {
		return plan.Engine{}, false
	}
	r := &w.report
	w.known = true
	if status != nil {
		r.Status = status
	}
	if history != nil {
		r.Checkpoints = history
	}
	if err == nil {
		r.UnreachableSince, r.Error = time.Time{}, ""
		return *r, true
	}
	r.Error = cause(w.target.Addr, err)
	if r.UnreachableSince.IsZero() {
		r.UnreachableSince = p.Clock.Now()
	}
	return *r, true
}

// cause says why a coordinator does not answer, the same words each time: a text with the number of a local port would make every
// poll news.
func cause(addr string, err error) string {
	if failed, ok := errors.AsType[*net.OpError](err); ok && failed.Err != nil {
		return fmt.Sprintf("%s: %s: %v", addr, failed.Op, failed.Err)
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Sprintf("%s: no answer within %s", addr, requestTimeout)
	}
	return err.Error()
}

// interval is how long to wait before the next poll.
func (p *Poller) interval(w *watch) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.Clock.Now()
	switch {
	case !w.commandedAt.IsZero() && now.Sub(w.commandedAt) < commandMotion:
		return quick
	case operates(w.report.Status):
		return busy
	case moves(&w.report) && now.Sub(w.changedAt) < motion:
		return busy
	default:
		return calm
	}
}

// operates says that an operation is in flight.
func operates(s *contract.JobStatus) bool {
	if s == nil {
		return false
	}
	for i := range s.Operations {
		if !s.Operations[i].Phase.Ended() {
			return true
		}
	}
	return false
}

// moves says that the job is on its way to somewhere.
func moves(r *plan.Engine) bool {
	if r.Status == nil || !r.UnreachableSince.IsZero() {
		return true
	}
	return r.Status.State != contract.JobRunning && !r.Status.State.Ended()
}
