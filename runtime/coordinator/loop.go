// SPDX-License-Identifier: Apache-2.0

package coordinator

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/go-logr/logr"

	"github.com/weir-stream/weir/runtime/checkpoint"
	"github.com/weir-stream/weir/runtime/contract"
	"github.com/weir-stream/weir/runtime/job"
	"github.com/weir-stream/weir/runtime/protocol"
	"github.com/weir-stream/weir/runtime/record"
)

// shutdownTimeout bounds how long the end of a coordinator without the end of its job may take.
const shutdownTimeout = 30 * time.Second

// maxBatch bounds the events handled between two looks at the machine's effects.
const maxBatch = 64

// loop owns the machine and all that belongs to it. Only its goroutine touches it.
type loop struct {
	c   *Coordinator
	o   *Options
	log logr.Logger
	// machine is nil in standby, and standby is nil otherwise.
	machine  *job.Machine
	standby  *standby
	prepared *prepared
	workers  map[string]*conn
	// conns are all connections that have registered and not ended, also those that were replaced.
	conns map[*conn]bool
	ops   *operations
	// head is the version of the head as last read or swapped.
	head headVersion
	exit *job.Exit
	// records are those of the sources and sinks of the last attempt that ran.
	records   records
	replay    *replay
	startedAt time.Time
	// draining are the workers that wait for a checkpoint, by its operation.
	draining map[string]*conn
	// tracer makes traces of snapshots; nil: none are wanted.
	tracer *tracer
	// came are the workers that registered in standby.
	came []string
	// beats is nil before the loop runs.
	beats *beats
	// swept is the outcome of the looks for orphans; its At is zero before the first.
	swept contract.Sweeps

	calls sync.WaitGroup
	// manifests are the slots for calls about manifests and claims, deletions those for deletions: these may take long, and nobody is to wait behind them.
	manifests, deletions chan struct{}
	stopCalls            context.CancelFunc
}

// run feeds the machine until it exits. When ctx ends the machine is told to shut down.
func (l *loop) run(ctx context.Context) {
	calls, stop := context.WithCancel(context.WithoutCancel(ctx))
	l.stopCalls = stop
	defer l.calls.Wait()
	defer stop()
	if t := l.tracer; t != nil {
		l.calls.Go(func() { t.run(calls) })
		defer close(t.queue)
	}
	if l.o.Durable {
		l.calls.Go(func() { l.sweeps(calls) })
	}

	wake := time.NewTimer(time.Hour)
	defer wake.Stop()
	l.beats = newBeats(time.Now(), l.o.HeartbeatInterval)
	defer l.beats.timer.Stop()
	late := time.NewTimer(time.Hour)
	late.Stop()
	defer late.Stop()
	done := ctx.Done()
	now := time.Now()
	l.machine.HandleStart(now)
	for _, name := range l.came {
		if k := l.workers[name]; k != nil {
			l.machine.HandleWorkerRegistered(now, k.register)
		}
	}
	for {
		l.settle(calls)
		l.traceEnded()
		if l.exit != nil {
			return
		}
		l.arm(wake)
		select {
		case f := <-l.c.events:
			l.handle(f)
		case <-wake.C:
			l.machine.HandleTime(time.Now())
		case <-l.beats.timer.C:
			l.beat(time.Now())
		case <-done:
			done = nil
			late.Reset(shutdownTimeout)
			l.log.Info("Shutting down")
			l.machine.HandleShutdown(time.Now())
		case <-late.C:
			l.exit = &job.Exit{State: job.StateSuspended, Err: fmt.Errorf("shutting down took longer than %v", shutdownTimeout)}
		}
	}
}

// handle carries out an event and those already waiting behind it.
func (l *loop) handle(f func(*loop)) {
	f(l)
	for range maxBatch {
		select {
		case f = <-l.c.events:
			f(l)
		default:
			return
		}
	}
}

// arm sets the timer to the machine's next wake-up.
func (l *loop) arm(t *time.Timer) {
	at, ok := l.machine.NextWake()
	if !ok {
		t.Stop()
		return
	}
	t.Reset(max(0, time.Until(at)))
}

// settle carries out effects until there are none.
func (l *loop) settle(ctx context.Context) {
	for {
		effects := l.machine.Effects()
		if len(effects) == 0 {
			return
		}
		for _, e := range effects {
			l.carryOut(ctx, e)
			if l.exit != nil {
				return
			}
		}
	}
}

// carryOut does what an effect says, or starts it.
func (l *loop) carryOut(ctx context.Context, e job.Effect) {
	switch e := e.(type) {
	case job.ReadHead:
		l.readHead(ctx)
	case job.SwapHead:
		l.swapHead(ctx, e)
	case job.WriteManifest:
		l.writeManifest(ctx, e)
	case job.ReadManifest:
		l.readManifest(ctx, e)
	case job.DeleteObjects:
		l.deleteObjects(ctx, e)
	case job.ClaimSnapshot:
		l.claimSnapshot(ctx, e)
	case job.DeleteOrigin:
		l.deleteOrigin(ctx, e)
	case job.Send:
		l.send(e)
	case job.DropWorker:
		if k := l.workers[e.Worker]; k != nil {
			l.log.Info("Dropping a worker", "worker", e.Worker, "reason", e.Reason)
			l.forget(k)
			k.end(fmt.Errorf("the coordinator dropped the worker: %s", e.Reason))
		}
	case job.Reply:
		l.drained(e.Operation.ID)
		if out := l.outcome(e.Operation); out.Phase.Ended() {
			l.ops.end(e.Operation.ID, out, time.Now())
		}
	case job.Exit:
		l.exit = &e
	default:
		l.log.Error(nil, "Unknown effect", "kind", fmt.Sprintf("%T", e))
	}
}

// send passes a message on to a worker that is there.
func (l *loop) send(e job.Send) {
	k := l.workers[e.Worker]
	if k == nil {
		return
	}
	k.send(e.Message)
	if e.Message.Registered != nil {
		l.greeted(k, time.Now())
	}
	if e.Message.Refused != "" {
		l.log.Info("Refusing a worker", "worker", e.Worker, "reason", e.Message.Refused)
		l.forget(k)
		k.finish()
	}
}

// start runs f beside the loop at once, and hands what it returns to the loop. It is for the head, of which the machine asks for one call at a time:
// whatever else storage is busy with, neither a commit nor a restart waits for that.
func (l *loop) start(ctx context.Context, f func(ctx context.Context) func(*loop)) {
	l.calls.Go(func() { _ = l.c.post(ctx, f(ctx)) })
}

// startIn is start once one of the slots is free.
func (l *loop) startIn(ctx context.Context, slots chan struct{}, f func(ctx context.Context) func(*loop)) {
	l.calls.Go(func() {
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			return
		}
		event := f(ctx)
		<-slots
		_ = l.c.post(ctx, event)
	})
}

// connected takes the registration of a worker on a new connection. One that has ended meanwhile must not push out the one that followed it.
func (l *loop) connected(k *conn, r protocol.Register) {
	if k.gone {
		return
	}
	now := time.Now()
	k.register, k.lastSeen = r, now
	l.conns[k] = true
	if text := l.refuse(r); text != "" {
		l.log.Info("Refusing a worker", "worker", r.Worker, "reason", text)
		k.send(protocol.ToWorker{Refused: text})
		k.finish()
		return
	}
	if old := l.workers[r.Worker]; old != nil {
		l.lost(old, errReplaced.Error(), now)
		old.end(errReplaced)
	}
	l.workers[r.Worker] = k
	l.expect(k, now)
	l.log.Info("Worker registered", "worker", r.Worker, "slots", r.Slots, "dataAddr", r.DataAddr)
	if l.machine == nil {
		l.greetWaiting(k)
		return
	}
	l.machine.HandleWorkerRegistered(now, r)
}

// refuse says why a worker can't serve the job; empty if it can.
func (l *loop) refuse(r protocol.Register) string {
	switch {
	case r.Worker == "":
		return "the worker gives no name"
	case r.Slots < 1:
		return fmt.Sprintf("the worker offers %d slots: it must offer one or more", r.Slots)
	case r.Protocol != protocol.ControlVersion:
		return fmt.Sprintf("the worker speaks version %d of the control protocol and the coordinator %d: run the same build", r.Protocol, protocol.ControlVersion)
	case l.o.Version != "" && r.Version != "" && r.Version != l.o.Version:
		return fmt.Sprintf("the worker has version %s and the coordinator %s: run the same build", r.Version, l.o.Version)
	default:
		return ""
	}
}

// received takes a message of a worker.
func (l *loop) received(k *conn, m protocol.FromWorker) {
	if k.gone {
		return
	}
	now := time.Now()
	l.heard(k, now)
	switch {
	case m.Heartbeat != nil:
		if m.Heartbeat.Tasks != nil && l.machine != nil {
			k.metrics = m.Heartbeat.Tasks
			l.machine.HandleProgress(m.Heartbeat.Tasks)
			l.tally()
		}
	case m.Draining:
		l.drain(k)
	case m.Register != nil:
		l.lost(k, "it registered twice on one connection", now)
		k.end(fmt.Errorf("the worker registered twice on one connection"))
	case l.machine == nil: // nothing was asked of it yet
	default:
		if m.Ack != nil {
			l.replay.acked(m.Ack)
		}
		l.machine.HandleFromWorker(now, k.register.Worker, m)
	}
}

// disconnected takes the end of a connection.
func (l *loop) disconnected(k *conn, err error) {
	delete(l.conns, k)
	reason := "its connection ended"
	if err != nil && !errors.Is(err, context.Canceled) {
		reason += ": " + err.Error()
	}
	l.lost(k, reason, time.Now())
}

// lost tells the machine that a worker is gone, once.
func (l *loop) lost(k *conn, reason string, now time.Time) {
	if !l.forget(k) {
		return
	}
	l.log.Info("Worker lost", "worker", k.register.Worker, "reason", reason)
	if l.machine == nil {
		return
	}
	l.machine.HandleWorkerLost(now, k.register.Worker, reason)
}

// forget takes a connection out of the workers; false if it wasn't one.
func (l *loop) forget(k *conn) bool {
	name := k.register.Worker
	k.gone = true
	if l.workers[name] != k {
		return false
	}
	delete(l.workers, name)
	return true
}

// submit passes an operation on to the machine, unless its id is known.
func (l *loop) submit(s submission) (contract.Operation, error) {
	now := time.Now()
	if _, known := l.ops.byID[s.id]; !known {
		if err := l.acceptable(s); err != nil {
			return contract.Operation{}, err
		}
	}
	op, fresh := l.ops.start(s, now)
	if !fresh {
		if op.Type != s.typ {
			return contract.Operation{}, conflict(fmt.Sprintf("operation %s is a %s", s.id, op.Type), "use another id")
		}
		return op.Operation, nil
	}
	l.log.Info("Operation requested", "operation", s.id, "type", s.typ, "target", s.target)
	switch s.typ {
	case contract.CheckpointOperation:
		l.machine.HandleCheckpoint(now, s.id)
	case contract.SavepointOperation:
		l.machine.HandleSavepoint(now, checkpoint.SavepointRequest{Operation: s.id, Target: s.target, Timeout: s.timeout})
	case contract.StopOperation:
		mode := record.StopFreeze
		if s.drain {
			mode = record.StopDrain
		}
		l.machine.HandleSavepoint(now, checkpoint.SavepointRequest{Operation: s.id, Target: s.target, Stop: mode, Timeout: s.timeout})
	case contract.CancelOperation:
		l.machine.HandleCancel(now, job.CancelRequest{Operation: s.id, Savepoint: s.savepoint, Target: s.target, Timeout: s.timeout})
	}
	return op.Operation, nil
}

// acceptable refuses what can never succeed.
func (l *loop) acceptable(s submission) error {
	wantsSavepoint := s.typ == contract.SavepointOperation || s.typ == contract.StopOperation || s.savepoint
	if wantsSavepoint && !l.o.Durable {
		return conflict("the job has no storage, so a savepoint would be lost with the coordinator",
			"give the job a storage, or cancel it")
	}
	return nil
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
