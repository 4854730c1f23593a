// SPDX-License-Identifier: Apache-2.0

package storage

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"time"
)

const (
	probeWriters = 8
	probeRounds  = 10
	// probeRepeats bounds how often a round in which nobody won, as a server may do with conflicting requests, is run again.
	probeRepeats = 5
	probeCleanup = 10 * time.Second
)

const probeRemedy = "use storage that honors If-None-Match and If-Match on writes, atomically: without them two coordinators could both believe they own the job"

// Probe finds out whether a store keeps the promises that the commit point rests on: objects are created once, a swap
// fails when the version is another one, and of racing writers one wins, round after round. It writes below a random
// name and removes that again. A store that breaks a promise is refused with an error that says which.
func Probe(ctx context.Context, store Store) (err error) {
	p := &probe{store: store, dir: "weir-probe-" + rand.Text()}
	defer func() {
		if cleanErr := p.clean(ctx); err == nil {
			err = cleanErr
		}
	}()
	for _, step := range []func(context.Context) error{p.conditions, p.creates, p.swaps, p.listing} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

type probe struct {
	store Store
	dir   string
	keys  []string
}

func (p *probe) key(name string) string {
	key := p.dir + "/" + name
	p.keys = append(p.keys, key)
	return key
}

func (p *probe) refuse(format string, args ...any) error {
	return &Error{Op: "probing", Store: p.store.String(), Err: fmt.Errorf(format, args...), Reason: Unsuitable, Remedy: probeRemedy}
}

// conditions checks the refusals one after the other, which gives the plainest errors.
func (p *probe) conditions(ctx context.Context) error {
	key := p.key("conditions")
	version, err := p.store.Swap(ctx, key, []byte("1"), "")
	if err != nil {
		return err
	}
	if err := p.store.PutIfAbsent(ctx, key, []byte("2")); !errors.Is(err, ErrExists) {
		return p.notRefused(err, "it lets an object be created over another one")
	}
	if _, err := p.store.Swap(ctx, key, []byte("3"), ""); !errors.Is(err, ErrPrecondition) {
		return p.notRefused(err, "it lets an object be created by a swap over another one")
	}
	if _, err = p.store.Swap(ctx, key, []byte("4"), version); err != nil {
		return err
	}
	if _, err := p.store.Swap(ctx, key, []byte("5"), version); !errors.Is(err, ErrPrecondition) {
		return p.notRefused(err, "it lets an object be replaced whose version is another one")
	}
	data, _, err := p.store.Get(ctx, key)
	if err != nil {
		return err
	}
	if string(data) != "4" {
		return p.refuse("it gives back %q after a write of %q", data, "4")
	}
	return nil
}

func (p *probe) notRefused(err error, what string) error {
	if err != nil {
		return err
	}
	return p.refuse("%s", what)
}

func (p *probe) creates(ctx context.Context) error {
	for round := range probeRounds {
		key := p.key(fmt.Sprintf("create-%d", round))
		create := func(data []byte) error { return p.store.PutIfAbsent(ctx, key, data) }
		if err := p.round(ctx, "creating", key, create); err != nil {
			return err
		}
	}
	return nil
}

func (p *probe) swaps(ctx context.Context) error {
	key, version := p.key("swap"), ""
	for range probeRounds {
		swap := func(data []byte) error {
			_, err := p.store.Swap(ctx, key, data, version)
			return err
		}
		if err := p.round(ctx, "swapping", key, swap); err != nil {
			return err
		}
		_, next, err := p.store.Get(ctx, key)
		if err != nil {
			return err
		}
		if next == version {
			return p.refuse("the version of an object stays the same when it is replaced")
		}
		version = next
	}
	return nil
}

// round lets writers race for a key. Each writes bytes of its own, so reading shows who was last.
func (p *probe) round(ctx context.Context, what, key string, write func(data []byte) error) error {
	for range probeRepeats {
		var (
			race [probeWriters]struct {
				data []byte
				err  error
			}
			group sync.WaitGroup
		)
		for i := range race {
			race[i].data = []byte(rand.Text())
			group.Go(func() { race[i].err = write(race[i].data) })
		}
		group.Wait()
		found, _, err := p.store.Get(ctx, key)
		if err != nil && !errors.Is(err, ErrNotFound) {
			return err
		}
		won, there := 0, false
		for _, r := range race {
			mine := string(found) == string(r.data)
			there = there || mine
			switch {
			case r.err == nil && !mine:
				return p.refuse("%s with racing writers: a writer was told that it had won, and another one's bytes are there", what)
			case r.err == nil:
				won++
			case errors.Is(r.err, ErrUnknownOutcome), errors.Is(r.err, ErrExists) || errors.Is(r.err, ErrPrecondition):
			default:
				return r.err
			}
		}
		if won == 1 || there {
			return nil
		}
	}
	return p.refuse("%s with racing writers: nobody won, %d times over", what, probeRepeats)
}

// listing checks that what was written is listed at once.
func (p *probe) listing(ctx context.Context) error {
	listed := map[string]bool{}
	err := p.store.List(ctx, p.dir+"/", func(o Object) error {
		listed[o.Key] = true
		return nil
	})
	if err != nil {
		return err
	}
	for _, key := range p.keys {
		if !listed[key] {
			return p.refuse("an object that was written is not listed")
		}
	}
	return nil
}

// clean removes what was written, also when the probe was canceled.
func (p *probe) clean(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), probeCleanup)
	defer cancel()
	return p.store.Delete(ctx, p.keys...)
}
