// SPDX-License-Identifier: Apache-2.0

package coordinator

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/weir-stream/weir/runtime/contract"
	"github.com/weir-stream/weir/runtime/protocol"
	"github.com/weir-stream/weir/runtime/snapshot"
)

// standbyLook is how often a coordinator in standby reads the head: it may be shut out meanwhile.
const standbyLook = 5 * time.Second

// Gate holds coordinators back in standby until it is opened, which is once and for all. Safe for concurrent use.
type Gate struct {
	once sync.Once
	open chan struct{}
}

// NewGate returns one that is closed.
func NewGate() *Gate { return &Gate{open: make(chan struct{})} }

// Open lets coordinators claim their job.
func (g *Gate) Open() { g.once.Do(func() { close(g.open) }) }

func (g *Gate) isOpen() bool {
	select {
	case <-g.open:
		return true
	default:
		return false
	}
}

// standby is what a coordinator knows before it claims the job.
type standby struct {
	plan contract.StatePlan
	// prepared holds what was found out for the plan, and hello is what workers are told.
	prepared *prepared
	hello    protocol.Registered
	// problem is what kept the last look from an answer.
	problem *contract.Problem
	// activated says that it doesn't wait any more.
	activated bool
}

// look is what one look at the storage came to.
type look struct {
	found *Found
	err   error
}

// begin prepares the loop; in standby once the gate is open.
func (c *Coordinator) begin(ctx context.Context) (*loop, error) {
	if c.o.Standby == nil || c.o.Standby.isOpen() {
		return c.prepareLoop(ctx)
	}
	ctx, cancel := context.WithCancel(ctx)
	var beside sync.WaitGroup
	defer beside.Wait()
	defer cancel()
	s, err := c.firstLook(ctx)
	if err != nil {
		return nil, err
	}
	waiting := c.newLoop(s.prepared)
	waiting.standby, waiting.startedAt = s, time.Now()
	return c.standBy(ctx, waiting, &beside)
}

// firstLook plans the newest state without claiming it.
func (c *Coordinator) firstLook(ctx context.Context) (*standby, error) {
	p := &prepared{cfg: c.o.Job}
	p.cfg.Parallelism = max(p.cfg.Parallelism, 1)
	if err := c.findJob(ctx, p); err != nil {
		return nil, err
	}
	if err := shutOut(p.found, p.grant); err != nil {
		return nil, err
	}
	plan, err := c.planState(ctx, p)
	if err != nil {
		return nil, err
	}
	raw, err := json.Marshal(p.cfg)
	if err != nil {
		return nil, fmt.Errorf("encoding the configuration of the job: %w", err)
	}
	s := &standby{plan: plan, prepared: p, hello: c.hello(p, raw)}
	s.hello.Epoch = protocol.Epoch{Grant: p.grant} // below every epoch of that grant
	if p.found != nil && p.found.Head.Epoch.Grant == p.grant {
		c.o.Standby.Open() // it was activated before: this coordinator only came back
	}
	c.o.Log.Info("Standing by", "grant", p.grant, "accepted", plan.Accepted, "problems", plan.Problems)
	return s, nil
}

// shutOut says that a head belongs to a higher grant.
func shutOut(found *Found, grant int64) error {
	if found == nil || found.Head.Epoch.Grant <= grant {
		return nil
	}
	return fmt.Errorf("standing by with grant %d while the head has %d: %w", grant, found.Head.Epoch.Grant, snapshot.ErrFenced)
}

// standBy keeps workers connected and answers callers until the gate is open, and then until the job is prepared. Claiming it is up to the loop that it
// returns. Storage is looked at beside it.
func (c *Coordinator) standBy(ctx context.Context, l *loop, beside *sync.WaitGroup) (*loop, error) {
	l.beats = newBeats(time.Now(), c.o.HeartbeatInterval)
	defer l.beats.timer.Stop()
	again := time.NewTicker(standbyLook)
	defer again.Stop()
	looks, next := make(chan look, 1), make(chan *loop, 1)
	failed := make(chan error, 1)
	opened, looking := c.o.Standby.open, false
	for {
		select {
		case f := <-c.events:
			l.handle(f)
		case <-l.beats.timer.C:
			l.beat(time.Now())
		case <-again.C:
			if looking || l.standby.activated {
				continue
			}
			looking = true
			beside.Go(func() { looks <- c.lookAgain(ctx, l.standby.prepared) })
		case seen := <-looks:
			looking = false
			if err := l.seen(seen); err != nil {
				return nil, err
			}
		case <-opened:
			opened, l.standby.activated = nil, true
			l.log.Info("Activated", "grant", l.prepared.grant)
			beside.Go(func() {
				ready, err := c.prepareLoop(ctx)
				if err != nil {
					failed <- err
					return
				}
				next <- ready
			})
		case err := <-failed:
			return nil, err
		case ready := <-next:
			ready.takeOver(l)
			return ready, nil
		case <-ctx.Done():
			return nil, fmt.Errorf("standing by: %w", context.Cause(ctx))
		}
	}
}

// lookAgain reads the head.
func (c *Coordinator) lookAgain(ctx context.Context, p *prepared) look {
	ctx, cancel := context.WithTimeout(ctx, headTimeout)
	defer cancel()
	found, err := c.lookFor(ctx, p.cfg)
	return look{found: found, err: err}
}

// seen takes what a look came to; the error ends the standby.
func (l *loop) seen(s look) error {
	if s.err != nil {
		p := ProblemOf(s.err)
		p.Since = time.Now()
		if before := l.standby.problem; before != nil {
			p.Since = before.Since
		}
		p.RetryAt = time.Now().Add(standbyLook)
		l.standby.problem = p
		return nil
	}
	l.standby.problem = nil
	if err := shutOut(s.found, l.prepared.grant); err != nil {
		return err
	}
	if s.found != nil && s.found.Head.Epoch.Grant == l.prepared.grant {
		l.o.Standby.Open() // somebody has claimed it with this grant: whoever that was, waiting is over
	}
	return nil
}

// takeOver takes the workers and the callers of a loop that stood by. The workers go on hearing from the coordinator while it claims the job.
func (l *loop) takeOver(from *loop) {
	l.workers, l.conns, l.startedAt = from.workers, from.conns, from.startedAt
	l.came = sortedKeys(from.workers)
}

// greetWaiting answers the registration of a worker while there is no machine to do so.
func (l *loop) greetWaiting(k *conn) {
	hello := l.standby.hello
	k.send(protocol.ToWorker{Registered: &hello})
	l.greeted(k, time.Now())
}

// reportStandby is the status in standby.
func (l *loop) reportStandby(now time.Time) *contract.JobStatus {
	s := l.standby
	out := &contract.JobStatus{
		Namespace: l.o.Job.Namespace, Name: l.o.Job.Name, State: contract.JobStandby, Problem: s.problem, Durable: l.o.Durable,
		StartedAt: l.startedAt, MeasuredAt: now,
		Parallelism: l.prepared.parallelism, MaxParallelism: l.prepared.plan.MaxParallelism, SlotsNeeded: l.prepared.plan.Slots,
		Storage: l.o.Location, Standby: &contract.StandbyReport{Plan: &s.plan},
	}
	for _, name := range sortedKeys(l.workers) {
		k := l.workers[name]
		out.SlotsOffered += k.register.Slots
		out.Workers = append(out.Workers, contract.WorkerReport{
			Name: name, Slots: k.register.Slots, DataAddr: k.register.DataAddr, LastSeen: k.lastSeen,
		})
	}
	switch {
	case s.activated:
		out.State, out.Standby = contract.JobStarting, nil
	case !s.plan.Accepted:
		out.Message = "the state doesn't fit the job"
	case out.SlotsOffered < out.SlotsNeeded:
		out.Message = fmt.Sprintf("standing by for more workers: %d of %d slots are there", out.SlotsOffered, out.SlotsNeeded)
	default:
		out.Standby.Ready = true
		out.Message = "standing by"
	}
	return out
}

// Activate ends the standby of the coordinator; of one that isn't in standby it changes nothing.
func (c *Coordinator) Activate(ctx context.Context, r contract.ActivateRequest) (contract.Activation, error) {
	return c.activate(ctx, r)
}

func (c *Coordinator) activate(_ context.Context, r contract.ActivateRequest) (contract.Activation, error) {
	return activate(c.o.Standby, c.o.Grant, r)
}

// activate opens the gate, if there is one, for the right grant.
func activate(g *Gate, grant int64, r contract.ActivateRequest) (contract.Activation, error) {
	if r.Grant != 0 && r.Grant != grant {
		return contract.Activation{}, conflict(fmt.Sprintf("this is the coordinator of grant %d, not of %d", grant, r.Grant), "ask that one")
	}
	if g != nil {
		g.Open()
	}
	return contract.Activation{Grant: grant}, nil
}

// activate lets the coordinator that there is, and each that follows, claim the job.
func (s *Supervisor) activate(_ context.Context, r contract.ActivateRequest) (contract.Activation, error) {
	return activate(s.o.Standby, s.o.Grant, r)
}

// waits says that the coordinator is in standby.
func (c *Coordinator) waits() bool { return c.o.Standby != nil && !c.ready.Load() }

// inStandby refuses what only a job that was claimed can do.
func (c *Coordinator) inStandby() error {
	if !c.waits() {
		return nil
	}
	return &contract.APIError{
		Status: http.StatusServiceUnavailable, Message: "the coordinator is in standby", Remedy: "activate it: POST " + contract.PathActivate,
	}
}

// activator is what the API asks to end a standby.
type activator interface {
	activate(ctx context.Context, r contract.ActivateRequest) (contract.Activation, error)
}

var (
	_ activator = (*Coordinator)(nil)
	_ activator = (*Supervisor)(nil)
)

// activate ends the standby.
func (a *api) activate(r *http.Request) (any, int, error) {
	var q contract.ActivateRequest
	if err := decode(r, &q); err != nil {
		return nil, 0, err
	}
	c, ok := a.control.(activator)
	if !ok {
		return nil, 0, conflict("there is nothing to activate", "leave it")
	}
	done, err := c.activate(r.Context(), q)
	return done, http.StatusOK, err
}
