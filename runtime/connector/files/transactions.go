// SPDX-License-Identifier: Apache-2.0

package files

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/go-logr/logr"

	"github.com/weir-stream/weir/runtime/contract"
	"github.com/weir-stream/weir/runtime/operator"
	"github.com/weir-stream/weir/runtime/record"
	"github.com/weir-stream/weir/runtime/storage"
	"github.com/weir-stream/weir/runtime/storage/open"
)

const (
	// stagingDir holds what isn't visible yet.
	stagingDir = "_staging"
	// partBytes is how large a buffer becomes before it is written beside.
	partBytes = 16 << 20
	// tries is how often a write or a move is done whose outcome isn't known or that may succeed later.
	tries = 3
	// parallelMoves is how many parts are moved at once.
	parallelMoves = 8
	// transactionsList is the name of the list of state.
	transactionsList = "transactions"
)

// target is where a sink writes.
type target struct {
	path     string
	settings *contract.S3
	open     opener
	// stem and suffix are the beginning and the end of final names.
	stem, suffix string
	// limit is how large a buffer becomes before it is written beside; 0: partBytes.
	limit int
}

// entry is the state of a part: what has to be known to make it visible.
type entry struct {
	// Job is the id of the job that wrote it, Store the address of the store.
	Job   string `json:"job"`
	Store string `json:"store"`
	// Staged and Final are its keys.
	Staged string `json:"staged"`
	Final  string `json:"final"`
	Size   int64  `json:"size"`
}

// part is content that becomes visible as a whole.
type part struct {
	// checkpoint is the first snapshot that holds it; 0 for none yet. It and entry.Final belong to the goroutine of the task.
	checkpoint int64
	unique     string
	// writing is held while data is written and entry is being settled.
	writing chan struct{}
	entry   entry
	data    []byte
	written bool
}

// transactions writes the parts of one subtask. Its methods are called by the goroutine of the task.
type transactions struct {
	store        storage.Store
	openElse     opener
	job, address string
	staging      string
	stem, suffix string
	subtask      int
	limit        int
	checkpointed bool
	log          logr.Logger
	wake         func()

	// buf is what isn't part of anything yet.
	buf []byte
	// pending are the parts that are not visible, oldest first.
	pending []*part
	seq     int
	spare   chan []byte

	jobs    chan func(context.Context) error
	busy    atomic.Bool
	failure atomic.Pointer[error]
	// idle has room for one: it is signaled after each piece of work. ended is closed with the worker.
	idle  chan struct{}
	ended chan struct{}
	stop  context.CancelFunc
}

// openTransactions opens the store, makes the parts of the restored snapshot visible and deletes the others of this job.
func openTransactions(ctx context.Context, c *operator.Context, to target) (*transactions, error) {
	cfg, err := output(to.path, to.settings)
	if err != nil {
		return nil, err
	}
	addr, err := address(cfg)
	if err != nil {
		return nil, err
	}
	store, err := orDefault(to.open)(ctx, cfg)
	if err != nil {
		return nil, err
	}
	t := &transactions{
		store: store, openElse: orDefault(to.open), job: c.JobID, address: addr,
		stem: to.stem, suffix: to.suffix, subtask: c.Subtask, checkpointed: c.Checkpointed, log: c.Log, wake: c.Wake,
		staging: strings.Join([]string{stagingDir, component(c.JobID), component(to.stem)}, "/") + "/",
		spare:   make(chan []byte, 2), jobs: make(chan func(context.Context) error, 1), ended: make(chan struct{}), idle: make(chan struct{}, 1),
	}
	if t.limit = to.limit; t.limit == 0 {
		t.limit = partBytes
	}
	if err := t.recover(ctx, c); err != nil {
		return nil, errors.Join(err, store.Close())
	}
	t.staging += component(c.Attempt) + "/"
	ctx, t.stop = context.WithCancel(ctx)
	go t.work(ctx)
	return t, nil
}

// work does what must not be done in the goroutine of the task.
func (t *transactions) work(ctx context.Context) {
	defer close(t.ended)
	for {
		select {
		case <-ctx.Done():
			return
		case f := <-t.jobs:
			if err := f(ctx); err != nil {
				t.failure.Store(&err)
			}
			t.busy.Store(false)
			select {
			case t.idle <- struct{}{}:
			default:
			}
			t.wake()
		}
	}
}

// submit has f done beside. Only to be called when not busy.
func (t *transactions) submit(f func(context.Context) error) {
	t.busy.Store(true)
	t.jobs <- f
}

var errEnded = errors.New("the task has ended")

// wait waits for what is done beside.
func (t *transactions) wait() error {
	for t.busy.Load() {
		select {
		case <-t.ended:
			return errEnded
		case <-t.idle:
		}
	}
	return nil
}

// err is what went wrong beside.
func (t *transactions) err() error {
	if p := t.failure.Load(); p != nil {
		return *p
	}
	return nil
}

// room says whether more may be added to the buffer; a large one becomes a part that is written beside.
func (t *transactions) room() (bool, error) {
	if err := t.err(); err != nil || len(t.buf) < t.limit {
		return err == nil, err
	}
	if t.busy.Load() {
		return false, nil
	}
	p := t.detach()
	t.submit(func(ctx context.Context) error { return t.write(ctx, p) })
	return true, nil
}

// detach makes a part of the buffer; nil when it is empty.
func (t *transactions) detach() *part {
	if len(t.buf) == 0 {
		return nil
	}
	t.seq++
	p := &part{data: t.buf, writing: make(chan struct{}, 1)}
	p.unique = fmt.Sprintf("%d-%d-%s", t.subtask, t.seq, rand.Text()[:8])
	p.entry = entry{Job: t.job, Store: t.address, Size: int64(len(t.buf)), Staged: t.staging + p.unique}
	t.pending = append(t.pending, p)
	select {
	case t.buf = <-t.spare:
	default:
		t.buf = nil
	}
	return p
}

// final is the name of a part for readers. It never comes twice: neither do checkpoints of a job, and the rest is random.
func (t *transactions) final(p *part) string {
	return fmt.Sprintf("part-%s-%s-%08d-%s%s", component(t.stem), component(t.job[:min(6, len(t.job))]), p.checkpoint, p.unique, t.suffix)
}

// write writes a part as a staged object, unless that is done.
func (t *transactions) write(ctx context.Context, p *part) error {
	select {
	case p.writing <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	defer func() { <-p.writing }()
	if p.written {
		return nil
	}
	for try := 1; ; try++ {
		err := t.store.PutIfAbsent(ctx, p.entry.Staged, p.data)
		if err == nil {
			break
		}
		if try == tries || ctx.Err() != nil || !again(err) && !errors.Is(err, storage.ErrExists) {
			return fmt.Errorf("writing a part: %w", err)
		}
		// What the failed write left, or leaves yet, belongs to nobody and is deleted by the next start.
		p.entry.Staged = fmt.Sprintf("%s.%d", strings.TrimSuffix(p.entry.Staged, fmt.Sprintf(".%d", try-1)), try)
	}
	p.written = true
	select {
	case t.spare <- p.data[:0]:
	default:
	}
	p.data = nil
	return nil
}

// again says whether a call may be repeated with hope.
func again(err error) bool {
	return storage.Retriable(err) || errors.Is(err, storage.ErrUnknownOutcome)
}

// snapshot fixes what belongs to a snapshot: all parts that are not visible yet.
func (t *transactions) snapshot(b record.Barrier) operator.AsyncSnapshot {
	t.detach()
	for _, p := range t.pending {
		if p.checkpoint == 0 {
			p.checkpoint = b.Checkpoint
			p.entry.Final = t.final(p)
		}
	}
	parts := slices.Clone(t.pending)
	return func(ctx context.Context) ([]operator.List, error) {
		list := operator.List{Name: transactionsList, Mode: operator.Union}
		for _, p := range parts {
			if err := t.write(ctx, p); err != nil {
				return nil, err
			}
			e, err := json.Marshal(p.entry)
			if err != nil {
				return nil, fmt.Errorf("saving a part: %w", err)
			}
			list.Entries = append(list.Entries, e)
		}
		return []operator.List{list}, nil
	}
}

// complete makes visible what belongs to snapshots up to checkpoint.
func (t *transactions) complete(ctx context.Context, checkpoint int64) error {
	var due []entry
	var later []*part
	for _, p := range t.pending {
		if p.checkpoint == 0 || p.checkpoint > checkpoint {
			later = append(later, p)
			continue
		}
		due = append(due, p.entry)
	}
	if err := t.publish(ctx, due); err != nil {
		return err
	}
	t.pending = later
	return nil
}

// finish writes everything and makes it visible: what a job without snapshots does at the end of its input.
// It answers false until that is done.
func (t *transactions) finish() (bool, error) {
	if err := t.err(); err != nil || t.busy.Load() {
		return false, err
	}
	t.detach()
	if len(t.pending) == 0 {
		return true, nil
	}
	parts := t.pending
	t.pending = nil
	for _, p := range parts {
		p.entry.Final = t.final(p)
	}
	t.submit(func(ctx context.Context) error {
		entries := make([]entry, len(parts))
		for i, p := range parts {
			if err := t.write(ctx, p); err != nil {
				return err
			}
			entries[i] = p.entry
		}
		return t.publish(ctx, entries)
	})
	return false, nil
}

// publish moves parts of this store to their final names.
func (t *transactions) publish(ctx context.Context, entries []entry) error {
	errs := make([]error, len(entries))
	var group sync.WaitGroup
	slots := make(chan struct{}, parallelMoves)
	for i, e := range entries {
		slots <- struct{}{}
		group.Go(func() {
			errs[i] = publish(ctx, t.store, e)
			<-slots
		})
	}
	group.Wait()
	return errors.Join(errs...)
}

// publish moves one part to its final name.
func publish(ctx context.Context, store storage.Store, e entry) error {
	for try := 1; ; try++ {
		err := store.Promote(ctx, e.Staged, e.Final)
		switch {
		case err == nil:
			return nil
		case errors.Is(err, storage.ErrNotFound):
			return fmt.Errorf("committing %s in %s: its %d bytes are lost: there is neither the staged object %s nor the final one: "+
				"if the final one was removed on purpose, create an empty object in its place: %w", e.Final, e.Store, e.Size, e.Staged, err)
		case errors.Is(err, storage.ErrExists):
			return fmt.Errorf("committing %s in %s: another object has that name: move it away: %w", e.Final, e.Store, err)
		case try == tries || ctx.Err() != nil || !again(err):
			return fmt.Errorf("committing %s: %w", e.Final, err)
		}
	}
}

// close ends the work beside. It deletes nothing: snapshots may hold what is staged.
func (t *transactions) close() error {
	if t.stop == nil {
		return nil
	}
	t.stop()
	<-t.ended
	return t.store.Close()
}

// recover makes this subtask's share of the restored parts visible; the first subtask also deletes what older attempts
// of this job have staged and the restored snapshot doesn't hold, and makes sure that the store can be written to.
func (t *transactions) recover(ctx context.Context, c *operator.Context) error {
	keep := map[string]bool{}
	for i, encoded := range c.List(transactionsList) {
		var e entry
		if err := json.Unmarshal(encoded, &e); err != nil {
			return fmt.Errorf("reading the state of the parts: %w", err)
		}
		if e.Store == t.address {
			keep[e.Staged] = true
		}
		if i%c.Parallelism != c.Subtask {
			continue
		}
		if err := t.publishRestored(ctx, e); err != nil {
			return err
		}
	}
	if c.Subtask != 0 {
		return nil
	}
	if err := t.sweep(ctx, keep, t.staging+component(c.Attempt)+"/"); err != nil {
		return fmt.Errorf("deleting what was staged before: %w", err)
	}
	return t.probe(ctx)
}

// publishRestored makes a part visible where it was written, which may be another place than that of this sink now.
func (t *transactions) publishRestored(ctx context.Context, e entry) (err error) {
	store := t.store
	if e.Store != t.address {
		cfg, err := open.Parse(e.Store)
		if err != nil {
			return fmt.Errorf("opening %s, where %s is to be committed: %w", e.Store, e.Final, err)
		}
		if store, err = t.openElse(ctx, cfg); err != nil {
			return fmt.Errorf("opening %s, where %s is to be committed: %w", e.Store, e.Final, err)
		}
		defer func() { err = errors.Join(err, store.Close()) }()
	}
	return publish(ctx, store, e)
}

// sweep deletes staged objects of this job and operator, but for those to keep and those of this attempt, which the
// other subtasks may be writing already.
func (t *transactions) sweep(ctx context.Context, keep map[string]bool, own string) error {
	var stale []string
	err := t.store.List(ctx, t.staging, func(o storage.Object) error {
		if !keep[o.Key] && !strings.HasPrefix(o.Key, own) {
			stale = append(stale, o.Key)
		}
		return nil
	})
	if err != nil || len(stale) == 0 {
		return err
	}
	t.log.Info("Deleting what was staged and not committed", "objects", len(stale))
	return t.store.Delete(ctx, stale...)
}

// probe writes and deletes an object, so that missing rights show before any row is processed.
func (t *transactions) probe(ctx context.Context) error {
	key := t.staging + "probe-" + rand.Text()
	if err := t.store.PutIfAbsent(ctx, key, []byte("probe")); err != nil {
		return fmt.Errorf("trying to write: %w", err)
	}
	return t.store.Delete(ctx, key)
}
