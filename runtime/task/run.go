// SPDX-License-Identifier: Apache-2.0

package task

import (
	"context"
	"fmt"
	"path"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/weir-stream/weir/runtime/operator"
	"github.com/weir-stream/weir/runtime/record"
)

// Gate is where input elements come from, see transport.Gate.
type Gate interface {
	Inputs
	// Next takes an element of a channel that isn't blocked; it never blocks.
	Next() (ch int, e record.Element, ok bool)
}

// Mailbox brings calls from other goroutines to the goroutine of a task. The zero value is not
// ready; make it with [NewMailbox].
type Mailbox struct {
	wake func()
	mu   struct {
		sync.Mutex
		mail   []func(*Core) error
		closed bool
	}
}

// NewMailbox returns a mailbox that calls wake after each Post.
func NewMailbox(wake func()) *Mailbox { return &Mailbox{wake: wake} }

// Post has f called by the task's goroutine soon; it says false if the task has ended.
func (m *Mailbox) Post(f func(*Core) error) bool {
	m.mu.Lock()
	if m.mu.closed {
		m.mu.Unlock()
		return false
	}
	m.mu.mail = append(m.mu.mail, f)
	m.mu.Unlock()
	m.wake()
	return true
}

func (m *Mailbox) take() []func(*Core) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	mail := m.mu.mail
	m.mu.mail = nil
	return mail
}

func (m *Mailbox) close() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.mu.closed, m.mu.mail = true, nil
}

// PanicError is a panic of user code, turned into an error.
type PanicError struct {
	Value any
	// Stack holds the first frames.
	Stack string
}

// Error shows the value and the place in its first line, and the stack below.
func (e *PanicError) Error() string {
	at := ""
	if place := placeOf(e.Stack); place != "" {
		at = " (in " + place + ")"
	}
	line, more, _ := strings.Cut(fmt.Sprint(e.Value), "\n")
	if more != "" {
		more = "\n" + more
	}
	return fmt.Sprintf("panic: %s%s%s\n%s", line, at, more, e.Stack)
}

// placeOf finds the function that panicked in a stack, with file and line: the first one after the panic that isn't of the Go runtime.
func placeOf(stack string) string {
	_, after, found := strings.Cut(stack, "panic(")
	if !found {
		return ""
	}
	lines := strings.Split(after, "\n")
	for i := 2; i+1 < len(lines); i += 2 { // the first two are the rest of the panic
		if strings.HasPrefix(lines[i], "runtime.") || strings.HasPrefix(lines[i], "panic(") {
			continue
		}
		name := lines[i][:max(strings.LastIndexByte(lines[i], '('), 0)]
		file, _, _ := strings.Cut(strings.TrimSpace(lines[i+1]), " ")
		return path.Base(name) + ", " + path.Base(file)
	}
	return ""
}

// Loop is the shell of one task: what [Run] needs besides the core.
type Loop struct {
	Core *Core
	// Gate is nil for a source.
	Gate Gate
	// Mail brings notifications.
	Mail *Mailbox
	// Signal yields when the gate, the mailbox, an output or the source may have something.
	Signal <-chan struct{}
	// Opened is called when the task starts to run.
	Opened func()
}

// Run opens the core, drives it until it is finished, fails, or ctx ends, and closes it. It blocks.
// A panic below comes back as a [PanicError].
func (l *Loop) Run(ctx context.Context) (err error) {
	defer func() {
		l.Mail.close()
		if cerr := guard(l.Core.Close); err == nil {
			err = cerr
		}
	}()
	return guard(func() error {
		if err := l.Core.Open(ctx); err != nil {
			return err
		}
		if l.Opened != nil {
			l.Opened()
		}
		if err := l.Core.Start(); err != nil {
			return err
		}
		return l.drive(ctx)
	})
}

func guard(f func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &PanicError{Value: v, Stack: firstFrames(string(debug.Stack()), 24)}
		}
	}()
	return f()
}

// firstFrames keeps the lines of a stack that matter: those after the panic itself.
func firstFrames(stack string, lines int) string {
	if i := strings.Index(stack, "panic("); i >= 0 {
		stack = stack[i:]
	}
	all := strings.SplitN(stack, "\n", lines+1)
	if len(all) > lines {
		all = all[:lines]
	}
	return strings.Join(all, "\n")
}

// busyRounds is how many steps are done between two looks at the clock.
const busyRounds = 16

func (l *Loop) drive(ctx context.Context) error {
	c := l.Core
	var timer *time.Timer
	defer func() {
		if timer != nil {
			timer.Stop()
		}
	}()
	var pollAt time.Time
	waiting := false
	for round := 0; ; round++ {
		if err := l.hear(); err != nil {
			return err
		}
		if c.Finished() {
			return nil
		}
		if round%busyRounds == 0 {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			if err := c.byTime(); err != nil {
				return err
			}
		}
		idle, err := l.step(&pollAt, &waiting)
		if err != nil {
			return err
		}
		if !idle {
			continue
		}
		if err := l.wait(ctx, &timer, pollAt, &waiting); err != nil {
			return err
		}
	}
}

// hear takes what came for the core from outside of its work.
func (l *Loop) hear() error {
	for _, f := range l.Mail.take() {
		if err := f(l.Core); err != nil {
			return err
		}
	}
	if err := l.Core.HandleArrivals(); err != nil || l.Core.Due().IsZero() {
		return err
	}
	return l.Core.HandleDue(l.Core.o.Now()) // a step may take long, so the clock is looked at before each
}

// step does one piece of work, or says that there is none.
func (l *Loop) step(pollAt *time.Time, waiting *bool) (idle bool, err error) {
	c := l.Core
	switch {
	case c.Paused():
		err = c.Resume()
		return c.Paused(), err
	case c.Replaying():
		return false, c.Replay()
	case c.Pollable():
		if *waiting {
			return true, nil
		}
		var st operator.PollState
		st, *pollAt, err = c.Poll()
		*waiting = st == operator.Wait
		return false, err
	case c.Readable() && l.Gate != nil:
		ch, e, ok := l.Gate.Next()
		if !ok {
			return true, nil
		}
		return false, c.HandleElement(ch, e)
	default:
		return true, nil
	}
}

// wait flushes what is due and sleeps until something may have changed.
func (l *Loop) wait(ctx context.Context, timer **time.Timer, pollAt time.Time, waiting *bool) error {
	c := l.Core
	now := c.o.Now()
	due := c.TimerDue()
	if !due.IsZero() && !now.Before(due) {
		return c.FireTimers(now)
	}
	if d := c.Due(); !d.IsZero() && !now.Before(d) {
		return c.HandleDue(now)
	} else if due.IsZero() || !d.IsZero() && d.Before(due) {
		due = d
	}
	at := c.FlushDue(now)
	if at.IsZero() || !due.IsZero() && due.Before(at) {
		at = due
	}
	if *waiting && c.Pollable() && !pollAt.IsZero() && (at.IsZero() || pollAt.Before(at)) {
		at = pollAt
	}
	var tick <-chan time.Time
	if !at.IsZero() {
		d := max(at.Sub(now), 0)
		if *timer == nil {
			*timer = time.NewTimer(d)
		} else {
			(*timer).Reset(d)
		}
		tick = (*timer).C
	}
	c.load.pause(now, c.Paused())
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-l.Signal:
	case <-tick:
	}
	c.load.resume(c.o.Now())
	*waiting = false
	return nil
}
