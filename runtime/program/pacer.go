// SPDX-License-Identifier: Apache-2.0

package program

import (
	"os"
	"runtime"
	"sync"
	"time"
)

const (
	// calmFor is how long a process must have used next to nothing before it goes on with one processor.
	calmFor = 10 * time.Second
	// calmShare is what it may use of one processor meanwhile, as a divisor: 2 %.
	calmShare = 50
	// lookEvery is how often the time it used is looked at, at most.
	lookEvery = 900 * time.Millisecond
)

// pacer has a process that has next to nothing to do run on one processor: what little it does then wakes one thread instead of several that look for more
// to do, which counts where hundreds of such processes share a node. It has no timer: the session with the other side tells it once a second that it got on.
// A nil one does nothing. Safe for concurrent use.
type pacer struct {
	now func() time.Time
	// used is the processor time of the process so far.
	used func() time.Duration
	// narrow makes it run on one processor, or on as many as there are for it.
	narrow func(one bool)

	mu struct {
		sync.Mutex
		lookedAt, busyAt time.Time
		used             time.Duration
		one              bool
	}
}

// newPacer returns nil where there is nothing to gain, and where somebody has said how many processors to use.
func newPacer() *pacer {
	if os.Getenv("GOMAXPROCS") != "" || runtime.GOMAXPROCS(0) == 1 {
		return nil
	}
	if _, err := usedTime(); err != nil {
		return nil
	}
	return startPacer(&pacer{
		now: time.Now,
		used: func() time.Duration {
			d, _ := usedTime() // it worked before
			return d
		},
		narrow: func(one bool) {
			if one {
				runtime.GOMAXPROCS(1)
			} else {
				runtime.SetDefaultGOMAXPROCS() // the limit of the container may be another one by now
			}
		},
	})
}

func startPacer(p *pacer) *pacer {
	now := p.now()
	p.mu.lookedAt, p.mu.busyAt, p.mu.used = now, now, p.used()
	return p
}

// turn looks at what the process has used since the last look.
func (p *pacer) turn() {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.now()
	elapsed := now.Sub(p.mu.lookedAt)
	if elapsed < lookEvery {
		return
	}
	used := p.used()
	spent := used - p.mu.used
	p.mu.lookedAt, p.mu.used = now, used
	switch {
	case spent*calmShare > elapsed:
		p.wake(now)
	case !p.mu.one && now.Sub(p.mu.busyAt) >= calmFor:
		p.mu.one = true
		p.narrow(true)
	}
}

// rouse says that there is work to come.
func (p *pacer) rouse() {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.wake(p.now())
}

// wake gives the process all processors. The caller holds the lock.
func (p *pacer) wake(now time.Time) {
	p.mu.busyAt = now
	if p.mu.one {
		p.mu.one = false
		p.narrow(false)
	}
}
