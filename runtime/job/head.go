// SPDX-License-Identifier: Apache-2.0

package job

import (
	"errors"
	"fmt"
	"time"

	"github.com/weir-stream/weir/runtime/checkpoint"
	"github.com/weir-stream/weir/runtime/protocol"
	"github.com/weir-stream/weir/runtime/snapshot"
)

// headWriter keeps the head and the changes to it: one swap is in flight at a time, and takes all changes that wait.
type headWriter struct {
	// head is what was swapped in last; next is being swapped in.
	head    snapshot.Head
	next    *snapshot.Head
	claimed bool
	// dropped are checkpoints that the claim in flight takes out of the head, going back behind them.
	dropped []snapshot.CompletedCheckpoint
	// changes wait for the next swap, riding are part of the one in flight.
	waiting, riding []headChange
	// retryAt is when reading or swapping is tried again, with growing delay, until giveUpAt.
	retryAt, giveUpAt time.Time
	delay             time.Duration
	reading           bool
	// trouble is what the last try ran into, troubleSince when that began.
	trouble      string
	troubleSince time.Time
}

// headChange is one change and what follows once it is swapped in.
type headChange struct {
	apply func(*snapshot.Head)
	done  func(now time.Time)
}

func (w *headWriter) start(now time.Time, timeout time.Duration) {
	w.giveUpAt, w.delay, w.reading = now.Add(timeout), 0, true
}

// HandleHeadRead takes the outcome of ReadHead: claim the job.
func (m *Machine) HandleHeadRead(now time.Time, h snapshot.Head, found bool, err error) {
	if m.exited || m.heads.claimed {
		return
	}
	if _, damaged := errors.AsType[*snapshot.CorruptError](err); damaged {
		m.quit(false, fmt.Errorf("reading the head: %w", err))
		return
	}
	if err != nil {
		m.headTrouble(now, fmt.Errorf("reading the head: %w", err))
		return
	}
	m.heads.reading, m.heads.trouble = false, ""
	if found && h.Final != nil && h.Epoch.Grant == m.o.Grant {
		m.heads.head = h
		m.exitFinal(h.Final)
		return
	}
	next, err := snapshot.Claim(h, found, m.o.Grant, m.o.Owner, m.o.Config.JobID)
	if err != nil {
		m.quit(errors.Is(err, snapshot.ErrFenced), err)
		return
	}
	if !found {
		next.Epoch.N = max(m.o.FirstN, 1)
	}
	next.Final = nil
	next.Restarts = notAfter(next.Restarts, now)
	if found && h.Epoch.Grant < m.o.Grant {
		next.Restarts = ofNewVersion(next.Restarts)
	}
	abandonStops(&next, now)
	if m.heads.dropped, err = m.rewind(&h, &next); err != nil {
		m.quit(false, fmt.Errorf("claiming the head: %w", err))
		return
	}
	next.Remember(&h)
	m.heads.head, m.heads.next = h, &next
	m.emit(SwapHead{Head: next.Clone()})
}

// abandonStops settles stops whose coordinator ended after the savepoint: the job goes on from it.
func abandonStops(h *snapshot.Head, now time.Time) {
	for _, o := range h.Clone().Operations {
		if o.Outcome != snapshot.OutcomeStopping {
			continue
		}
		o.Outcome, o.At = snapshot.OutcomeStopFailed, now
		o.Error = fmt.Sprintf("the savepoint %s is complete, but the coordinator was lost before the job had stopped; it goes on from the savepoint", o.Path)
		h.SetOperation(o)
	}
}

func stateOf(f snapshot.FinalState) State {
	switch f {
	case snapshot.FinalFinished:
		return StateFinished
	case snapshot.FinalCanceled:
		return StateCanceled
	case snapshot.FinalSuspended:
		return StateSuspended
	default:
		return StateFailed
	}
}

func finalError(f *snapshot.Final) error {
	if f.State != snapshot.FinalFailed {
		return nil
	}
	return errors.New(f.Error)
}

// HandleSwapped takes the outcome of SwapHead; err says what went wrong unless it is Swapped.
func (m *Machine) HandleSwapped(now time.Time, outcome snapshot.SwapOutcome, err error) {
	w := &m.heads
	if m.exited || w.next == nil {
		return
	}
	switch outcome {
	case snapshot.Swapped:
		w.head, w.next = *w.next, nil
		w.retryAt, w.delay, w.trouble = time.Time{}, 0, ""
		m.swapped(now)
	case snapshot.Fenced:
		m.quit(true, fmt.Errorf("swapping the head: %w", errors.Join(snapshot.ErrFenced, err)))
	case snapshot.Raced:
		if w.claimed {
			m.quit(true, fmt.Errorf("swapping the head: somebody else wrote it: %w", snapshot.ErrFenced))
			return
		}
		w.next = nil
		m.HandleStart(now)
	default:
		m.headTrouble(now, fmt.Errorf("swapping the head: %w", err))
	}
}

// swapped goes on with what waited for the swap.
func (m *Machine) swapped(now time.Time) {
	w := &m.heads
	w.giveUpAt = time.Time{}
	if !w.claimed {
		w.claimed = true
		m.claimed(now)
		m.nextSwap(now)
		return
	}
	riding := w.riding
	w.riding = nil
	for _, c := range riding {
		if c.done != nil && !m.exited {
			c.done(now)
		}
	}
	m.deleteOrigin()
	if m.ending.over() { // only now: other changes of the same swap are answered, too
		m.leave()
		return
	}
	m.nextSwap(now)
}

// updateHead makes a change as soon as no other swap is in flight.
func (m *Machine) updateHead(now time.Time, apply func(*snapshot.Head), done func(now time.Time)) {
	m.heads.waiting = append(m.heads.waiting, headChange{apply, done})
	m.nextSwap(now)
}

func (m *Machine) nextSwap(now time.Time) {
	w := &m.heads
	if m.exited || !w.claimed || w.next != nil || len(w.waiting) == 0 {
		return
	}
	next := w.head.Clone()
	next.Seq++
	for _, c := range w.waiting {
		c.apply(&next)
	}
	m.releaseOrigin(&next)
	next.Remember(&w.head)
	w.riding, w.waiting = w.waiting, nil
	w.next = &next
	w.giveUpAt = now.Add(m.o.HeadTimeout)
	m.emit(SwapHead{Head: next.Clone()})
}

// headTrouble tries again later, or ends the incarnation: without the head nothing can be committed.
func (m *Machine) headTrouble(now time.Time, err error) {
	w := &m.heads
	if !now.Before(w.giveUpAt) {
		m.quit(false, fmt.Errorf("giving up after %v: %w", m.o.HeadTimeout, err))
		return
	}
	if w.trouble == "" {
		w.troubleSince = now
	}
	w.trouble = "waiting for storage: " + snapshot.CutText(err.Error(), snapshot.MaxText)
	w.delay = min(max(2*w.delay, m.o.RetryInterval), 10*m.o.RetryInterval)
	w.retryAt = now.Add(w.delay)
}

// retryHead repeats the very same request: an earlier one may still arrive.
func (m *Machine) retryHead() {
	w := &m.heads
	w.retryAt = time.Time{}
	switch {
	case w.reading:
		m.emit(ReadHead{})
	case w.next != nil:
		m.emit(SwapHead{Head: w.next.Clone()})
	}
}

// claimed begins the work of the owner of the head.
func (m *Machine) claimed(now time.Time) {
	h := &m.heads.head
	m.epoch = protocol.Epoch(h.Epoch)
	m.message = ""
	s, err := checkpoint.New(m.checkpointOptions(), *h)
	if err != nil {
		m.quit(false, err)
		return
	}
	m.snapshots = s
	m.discard(now)
	for _, name := range sortedKeys(m.workers) {
		m.greet(name)
	}
	m.deleteOrigin()
	m.startAttempt(now)
}
