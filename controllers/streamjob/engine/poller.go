// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"context"
	"errors"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/event"

	"github.com/weir-stream/weir/controllers/streamjob/plan"
)

const (
	// requestTimeout bounds one poll, commandTimeout one command.
	requestTimeout = 2 * time.Second
	commandTimeout = 3 * time.Second
	// changesBuffer is how many changes may wait for the controller before polls wait for it too.
	changesBuffer = 1024
)

// ErrNoCoordinator is returned for commands to a job that is not watched or whose coordinator has no address yet.
var ErrNoCoordinator = errors.New("the coordinator has no pod with an address yet")

// Change says that there is something new to look at about a job.
type Change = event.TypedGenericEvent[types.NamespacedName]

// Poller watches the coordinators of jobs. It runs under a manager, on the leader only; a job may be watched before it runs, and is
// polled from then on. All methods are safe for concurrent use. The zero value is usable.
type Poller struct {
	// Clock drives everything. Default: the real one.
	Clock clock.Clock
	// Dial reaches a coordinator. Default: the control API at the address of the target.
	Dial Dial

	once    sync.Once
	changes chan Change
	wake    chan struct{}

	mu struct {
		sync.Mutex
		jobs map[types.NamespacedName]*watch
		// candidates are the versions that stand by to replace those.
		candidates map[types.NamespacedName]*watch
		// pending are watches that no goroutine polls yet.
		pending []*watch
	}
}

func (p *Poller) init() {
	p.once.Do(func() {
		if p.Clock == nil {
			p.Clock = clock.RealClock{}
		}
		if p.Dial == nil {
			p.Dial = dialContract
		}
		p.changes = make(chan Change, changesBuffer)
		p.wake = make(chan struct{}, 1)
		p.mu.jobs, p.mu.candidates = map[types.NamespacedName]*watch{}, map[types.NamespacedName]*watch{}
	})
}

// NeedLeaderElection says that only the leader polls.
func (p *Poller) NeedLeaderElection() bool { return true }

// Start polls until ctx ends, and returns when all polling has ended.
func (p *Poller) Start(ctx context.Context) error {
	p.init()
	var polls sync.WaitGroup
	defer polls.Wait()
	for {
		for _, w := range p.takePending() {
			polls.Go(func() { p.run(ctx, w) })
		}
		select {
		case <-ctx.Done():
			return nil
		case <-p.wake:
		}
	}
}

func (p *Poller) takePending() []*watch {
	p.mu.Lock()
	defer p.mu.Unlock()
	pending := p.mu.pending
	p.mu.pending = nil
	return pending
}

// Changes returns the channel on which jobs are named whose report changed in something that matters. It is never closed.
func (p *Poller) Changes() <-chan Change {
	p.init()
	return p.changes
}

// Watch makes the poller watch a job at a target. Watching the same target again changes nothing. What was reported stays known
// while the grant stays the same. A candidate that was watched at this target is taken over with its report.
func (p *Poller) Watch(key types.NamespacedName, t Target) {
	p.init()
	p.mu.Lock()
	defer p.mu.Unlock()
	old := p.mu.jobs[key]
	if old != nil && old.target == t {
		return
	}
	if c := p.mu.candidates[key]; c != nil && c.target == t {
		if old != nil {
			old.end()
		}
		delete(p.mu.candidates, key)
		p.mu.jobs[key] = c
		return
	}
	p.mu.jobs[key] = p.follow(old, key, t)
}

// follow begins a watch in place of another one, nil for none. The caller holds the lock.
func (p *Poller) follow(old *watch, key types.NamespacedName, t Target) *watch {
	w := p.newWatch(key, t)
	if old != nil {
		old.inherit(w)
		old.end()
	}
	if w.api == nil {
		return w
	}
	p.mu.pending = append(p.mu.pending, w)
	select {
	case p.wake <- struct{}{}:
	default:
	}
	return w
}

// WatchCandidate makes the poller watch, beside a job, the version that stands by to replace it; nil: there is none any more.
func (p *Poller) WatchCandidate(key types.NamespacedName, t *Target) {
	p.init()
	p.mu.Lock()
	defer p.mu.Unlock()
	old := p.mu.candidates[key]
	switch {
	case t == nil:
		if old != nil {
			old.end()
			delete(p.mu.candidates, key)
		}
	case old == nil || old.target != *t:
		p.mu.candidates[key] = p.follow(old, key, *t)
	}
}

// Candidate returns what is known of the version that stands by, as Report does of the job.
func (p *Poller) Candidate(key types.NamespacedName) *plan.Engine {
	p.init()
	p.mu.Lock()
	defer p.mu.Unlock()
	w := p.mu.candidates[key]
	if w == nil || !w.known {
		return nil
	}
	return new(w.report)
}

// newWatch returns one that was not asked yet.
func (p *Poller) newWatch(key types.NamespacedName, t Target) *watch {
	w := &watch{
		key: key, target: t, kick: make(chan struct{}, 1), done: make(chan struct{}),
		report: plan.Engine{Grant: t.Grant, UnreachableSince: p.Clock.Now(), Error: ErrNoCoordinator.Error()},
	}
	if t.Addr == "" {
		w.known = true
		return w
	}
	api, err := p.Dial(key, t)
	if err != nil {
		w.report.Error, w.known = err.Error(), true
		return w
	}
	w.api, w.report.Error = api, "it was not asked yet"
	return w
}

// Forget ends the watch of a job and drops what was reported.
func (p *Poller) Forget(key types.NamespacedName) {
	p.init()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, watches := range []map[types.NamespacedName]*watch{p.mu.jobs, p.mu.candidates} {
		if w := watches[key]; w != nil {
			w.end()
			delete(watches, key)
		}
	}
}

// Report returns what is known of a job; nil when it is not watched, or when its coordinator was neither heard nor found silent yet. That
// takes 2 s at most, and then a change is told. What the report points to does not change any more.
func (p *Poller) Report(key types.NamespacedName) *plan.Engine {
	p.init()
	p.mu.Lock()
	defer p.mu.Unlock()
	w := p.mu.jobs[key]
	if w == nil || !w.known {
		return nil
	}
	return new(w.report)
}

// Client returns what commands the coordinator of a job. Each command is bounded by 3 s, and the job is polled again right
// after it. The error is [ErrNoCoordinator] when there is nobody to command.
func (p *Poller) Client(key types.NamespacedName) (Commands, error) {
	p.init()
	p.mu.Lock()
	defer p.mu.Unlock()
	w := p.mu.jobs[key]
	if w == nil || w.api == nil {
		return nil, ErrNoCoordinator
	}
	return &commander{poller: p, watch: w}, nil
}
