// SPDX-License-Identifier: Apache-2.0

package checkpoint

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/weir-stream/weir/runtime/record"
	"github.com/weir-stream/weir/runtime/snapshot"
)

type priority uint8

const (
	prioritySavepoint priority = iota
	priorityManual
	priorityPeriodic
)

// request waits for its turn to become a snapshot.
type request struct {
	priority  priority
	seq       int64
	operation string
	target    string
	stop      record.StopMode
	// timeout and deadline are the caller's; zero means that of all snapshots, counted from the trigger.
	timeout  time.Duration
	deadline time.Time
	// at is when it was asked for.
	at time.Time
	// final asks for the snapshot that lets tasks at the end of their data finish.
	final bool
}

func (q *request) kind() snapshot.OperationType {
	switch {
	case q.stop != record.StopNone:
		return snapshot.OperationStop
	case q.priority == prioritySavepoint:
		return snapshot.OperationSavepoint
	default:
		return snapshot.OperationCheckpoint
	}
}

// compareRequests orders by priority, then by age.
func compareRequests(a, b *request) int {
	return cmp.Or(cmp.Compare(a.priority, b.priority), cmp.Compare(a.seq, b.seq))
}

var operationID = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$`)

// CheckOperationID says what is wrong with the id of an operation: it becomes part of the names of objects.
func CheckOperationID(id string) error {
	if !operationID.MatchString(id) {
		return fmt.Errorf("checking the operation id %q: want 1 to 128 letters, digits, dots, dashes and underscores, a letter or digit first", id)
	}
	return nil
}

// cleanTarget checks a directory for savepoints and gives it a "/" at its end.
func cleanTarget(target string) (string, error) {
	t := strings.TrimSuffix(target, "/")
	if t == "" || len(t) > 512 {
		return "", fmt.Errorf("checking the savepoint target %q: want a directory of at most 512 characters", target)
	}
	for seg := range strings.SplitSeq(t, "/") {
		if seg == "" || seg == "." || seg == ".." || strings.ContainsAny(seg, "\\\x00\n") {
			return "", fmt.Errorf("checking the savepoint target %q: want a directory relative to the job's storage, such as \"mine\", without empty, \".\" or \"..\" parts", target)
		}
	}
	return t + "/", nil
}

// RequestCheckpoint asks for a checkpoint now.
func (c *Coordinator) RequestCheckpoint(now time.Time, operation string) {
	if !c.admit(now, operation, snapshot.OperationCheckpoint) {
		return
	}
	c.enqueue(now, &request{priority: priorityManual, operation: operation})
	c.advance(now)
}

// SavepointRequest asks for a savepoint.
type SavepointRequest struct {
	// Operation is its id.
	Operation string
	// Target is the directory below which it is written; empty: the default.
	Target string
	// Stop other than StopNone stops the job with it.
	Stop record.StopMode
	// Timeout gives it up that long after the request; 0: when it is as old as any snapshot may get.
	Timeout time.Duration
}

// RequestSavepoint asks for a savepoint.
func (c *Coordinator) RequestSavepoint(now time.Time, r SavepointRequest) {
	operation, target, stop := r.Operation, r.Target, r.Stop
	typ := (&request{stop: stop}).kind()
	if !c.admit(now, operation, typ) {
		return
	}
	if !c.o.Durable {
		c.refuse(now, operation, typ, "the job has no storage: its checkpoints live in the coordinator's memory and can't be kept; configure storage to take savepoints")
		return
	}
	if target == "" {
		target = c.o.SavepointDir
	}
	dir, err := cleanTarget(target)
	if err != nil {
		c.refuse(now, operation, typ, err.Error())
		return
	}
	if stop != record.StopNone {
		if c.stop != nil {
			c.refuse(now, operation, typ, fmt.Sprintf("operation %q is stopping the job already", c.stop.operation.ID))
			return
		}
		c.stop = &stopping{operation: snapshot.Operation{ID: operation, Type: typ, Stop: stop}}
		c.stopPeriodic()
	}
	q := &request{priority: prioritySavepoint, operation: operation, target: dir, stop: stop, timeout: r.Timeout}
	if q.timeout > 0 {
		q.deadline = now.Add(q.timeout)
	}
	c.enqueue(now, q)
	c.advance(now)
}

// admit answers repeats and what can't be done; false means that there is nothing more to do.
func (c *Coordinator) admit(now time.Time, operation string, typ snapshot.OperationType) bool {
	if err := CheckOperationID(operation); err != nil {
		c.refuse(now, operation, typ, err.Error())
		return false
	}
	if slices.Contains(c.OpenOperations(), operation) {
		return false
	}
	if o, ok := c.head.Operation(operation); ok {
		if o.Outcome != snapshot.OutcomeStopping {
			c.emit(Answer{Operation: o})
		}
		return false
	}
	if !c.running {
		c.refuse(now, operation, typ, "not all tasks are running; ask again when they are")
		return false
	}
	return true
}

// refuse answers a request of which nothing was done, so that nothing is recorded either.
func (c *Coordinator) refuse(now time.Time, operation string, typ snapshot.OperationType, why string) {
	c.emit(Answer{Operation: snapshot.Operation{ID: operation, Type: typ, Outcome: snapshot.OutcomeFailed, Error: why, At: now}})
}

// refuseLater gives up a queued request.
func (c *Coordinator) refuseLater(now time.Time, q *request, why string) {
	if q.stop != record.StopNone {
		c.stop = nil
		c.armPeriodic(now)
	}
	if q.operation != "" {
		c.recordFailure(now, q.operation, q.kind(), q.stop, why)
	}
}

// OpenOperations lists the operations that have no outcome yet.
func (c *Coordinator) OpenOperations() []string {
	var ids []string
	add := func(id string) {
		if id != "" && !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	for _, q := range c.queue {
		add(q.operation)
	}
	for _, p := range c.pending {
		add(p.request.operation)
	}
	if c.stop != nil {
		add(c.stop.operation.ID)
	}
	for _, u := range c.updates {
		if o := u.change.Operation; o != nil {
			add(o.ID)
		}
	}
	slices.Sort(ids)
	return ids
}

func (c *Coordinator) enqueue(now time.Time, q *request) {
	c.requests++
	q.seq, q.at = c.requests, now
	i, _ := slices.BinarySearchFunc(c.queue, q, compareRequests)
	c.queue = slices.Insert(c.queue, i, q)
	if len(c.queue) > c.o.MaxQueue {
		last := c.queue[len(c.queue)-1]
		c.queue = c.queue[:len(c.queue)-1]
		c.refuseLater(now, last, fmt.Sprintf("too many requests: %d are waiting", c.o.MaxQueue))
	}
}

// deadline is when a snapshot is given up.
func (c *Coordinator) deadline(p *pending) time.Time {
	if !p.request.deadline.IsZero() {
		return p.request.deadline
	}
	return p.createdAt.Add(c.o.Timeout)
}

// limit is how long a snapshot may take, for people.
func (c *Coordinator) limit(p *pending) time.Duration { return cmp.Or(p.request.timeout, c.o.Timeout) }

// expireQueued gives up requests that could not start in time.
func (c *Coordinator) expireQueued(now time.Time) {
	for _, q := range slices.Clone(c.queue) {
		if q.deadline.IsZero() || now.Before(q.deadline) {
			continue
		}
		c.queue = slices.DeleteFunc(c.queue, func(x *request) bool { return x == q })
		why := cmp.Or(c.counts.Waiting, "its turn had not come")
		c.refuseLater(now, q, fmt.Sprintf("not started within %v: %s", q.timeout, why))
	}
}

// enqueuePeriodic queues the one periodic request; a backlog is never built.
func (c *Coordinator) enqueuePeriodic(now time.Time) {
	waiting := slices.ContainsFunc(c.queue, func(q *request) bool { return q.priority == priorityPeriodic })
	if !waiting {
		c.enqueue(now, &request{priority: priorityPeriodic})
	}
}

// waitsForIDs says why no snapshot starts while the head is being swapped for more ids.
const waitsForIDs = "checkpoint ids are being reserved in storage"

// choose takes the request that may start now from the queue; nil if none may.
func (c *Coordinator) choose(now time.Time) *request {
	c.counts.Waiting = ""
	if len(c.queue) == 0 {
		return nil
	}
	if c.reserving != 0 {
		c.counts.Waiting = waitsForIDs
		return nil
	}
	first := c.queue[0]
	switch {
	case c.stop != nil && c.stop.phase != stopQueued:
		c.counts.Waiting = "the job is being stopped"
		return nil
	case len(c.cleaning) > c.o.MaxConcurrent:
		c.counts.Waiting = fmt.Sprintf("%d old snapshots are still being deleted: storage is slow", len(c.cleaning))
		return nil
	case len(c.pending) >= c.o.MaxConcurrent && first.priority != prioritySavepoint:
		c.counts.Waiting = fmt.Sprintf("%d snapshots are in flight", len(c.pending))
		return nil
	case c.clashes():
		c.counts.Waiting = "an unaligned checkpoint is in flight, which no other snapshot runs beside"
		return nil
	case first.priority == priorityPeriodic && c.tooEarly(now):
		c.queue = c.queue[1:]
		c.nextPeriodic = c.lastCompletionAt.Add(c.o.MinPause)
		return nil
	}
	c.queue = c.queue[1:]
	return first
}

// clashes says that an unaligned checkpoint is in flight, whose barriers would overtake those of what starts now. While a savepoint is in flight an
// unaligned one waits because it needs a maxConcurrent of 1.
func (c *Coordinator) clashes() bool {
	return slices.ContainsFunc(c.pending, func(p *pending) bool { return p.barrier.Unaligned })
}

func (c *Coordinator) tooEarly(now time.Time) bool {
	return c.o.MinPause > 0 && !c.lastCompletionAt.IsZero() && now.Before(c.lastCompletionAt.Add(c.o.MinPause))
}
