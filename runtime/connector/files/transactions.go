// SPDX-License-Identifier: Apache-2.0

package files

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/go-logr/logr"

	"github.com/weir-stream/weir/runtime/connector/format"
	"github.com/weir-stream/weir/runtime/contract"
	"github.com/weir-stream/weir/runtime/operator"
	"github.com/weir-stream/weir/runtime/operator/txn"
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
)

// target is where a sink writes.
type target struct {
	path     string
	settings *contract.S3
	open     opener
	// stem and suffix are the beginning and the end of final names.
	stem, suffix string
	// newEncoder makes what encodes batches; nil for a sink that is given lines.
	newEncoder func() format.Encoder
	// limit is how large a buffer becomes before it is written beside; 0: partBytes.
	limit int
}

// entry is the handle of a part: what has to be known to make it visible.
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
	unique string
	// writing is held while data is written and entry is being settled.
	writing chan struct{}
	entry   entry
	data    []byte
	written bool
}

// transactions writes the parts of one subtask, as a [txn.Sink].
type transactions struct {
	to           target
	encoder      format.Encoder
	store        storage.Store
	openElse     opener
	job, address string
	// staging is the directory of what this job stages for this operator, own that of this attempt.
	staging, own string
	subtask      int
	limit        int
	log          logr.Logger
	wake         func()

	seq   int
	spare chan []byte

	jobs    chan func(context.Context) error
	busy    atomic.Bool
	failure atomic.Pointer[error]
	// ended is closed with the worker.
	ended chan struct{}
	stop  context.CancelFunc
}

// transaction is what is written between two barriers: a buffer, and parts that it became while it was too large.
type transaction struct {
	t *transactions
	// buf is what isn't part of anything yet.
	buf   []byte
	parts []*part
}

// Open implements [txn.Sink]: it opens the store, and the first subtask makes sure that it can be written to.
func (t *transactions) Open(ctx context.Context, c *operator.Context) error {
	cfg, err := output(t.to.path, t.to.settings)
	if err != nil {
		return err
	}
	if t.address, err = address(cfg); err != nil {
		return err
	}
	t.openElse = orDefault(t.to.open)
	if t.store, err = t.openElse(ctx, cfg); err != nil {
		return err
	}
	if t.to.newEncoder != nil {
		t.encoder = t.to.newEncoder()
	}
	t.job, t.subtask, t.log, t.wake = c.JobID, c.Subtask, c.Log, c.Wake
	t.staging = strings.Join([]string{stagingDir, component(c.JobID), component(t.to.stem)}, "/") + "/"
	t.own = t.staging + component(c.Attempt) + "/"
	t.spare, t.jobs, t.ended = make(chan []byte, 2), make(chan func(context.Context) error, 1), make(chan struct{})
	if t.limit = t.to.limit; t.limit == 0 {
		t.limit = partBytes
	}
	if c.Subtask == 0 {
		if err := t.probe(ctx); err != nil {
			return err
		}
	}
	ctx, t.stop = context.WithCancel(ctx)
	go t.work(ctx)
	return nil
}

// Begin implements [txn.Sink].
func (t *transactions) Begin() (txn.Transaction, error) {
	x := &transaction{t: t}
	select {
	case x.buf = <-t.spare:
	default:
	}
	return x, nil
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
			t.wake()
		}
	}
}

// submit has f done beside. Only to be called when not busy.
func (t *transactions) submit(f func(context.Context) error) {
	t.busy.Store(true)
	t.jobs <- f
}

// err is what went wrong beside.
func (t *transactions) err() error {
	if p := t.failure.Load(); p != nil {
		return *p
	}
	return nil
}

// Write implements [txn.Transaction].
func (x *transaction) Write(b record.Batch) (operator.Status, error) {
	x.buf = x.t.encoder.AppendBatch(x.buf, b)
	return x.Resume()
}

// Resume implements [txn.Transaction].
func (x *transaction) Resume() (operator.Status, error) {
	if ok, err := x.room(); err != nil || ok {
		return operator.Done, err
	}
	return operator.Paused, nil
}

// room says whether more may be added to the buffer; a large one becomes a part that is written beside.
func (x *transaction) room() (bool, error) {
	t := x.t
	if err := t.err(); err != nil || len(x.buf) < t.limit {
		return err == nil, err
	}
	if t.busy.Load() {
		return false, nil
	}
	p := x.detach()
	t.submit(func(ctx context.Context) error { return t.write(ctx, p) })
	return true, nil
}

// detach makes a part of the buffer, which isn't empty.
func (x *transaction) detach() *part {
	t := x.t
	t.seq++
	p := &part{data: x.buf, writing: make(chan struct{}, 1)}
	p.unique = fmt.Sprintf("%d-%d-%s", t.subtask, t.seq, rand.Text()[:8])
	p.entry = entry{Job: t.job, Store: t.address, Size: int64(len(x.buf)), Staged: t.own + p.unique}
	x.parts = append(x.parts, p)
	select {
	case x.buf = <-t.spare:
	default:
		x.buf = nil
	}
	return p
}

// Seal implements [txn.Transaction]: the final names hold the first snapshot that has the parts.
func (x *transaction) Seal(checkpoint int64) {
	if len(x.buf) > 0 {
		x.detach()
	}
	x.t.reuse(x.buf)
	x.buf = nil
	for _, p := range x.parts {
		p.entry.Final = x.t.final(p, checkpoint)
	}
}

// PreCommit implements [txn.Transaction]: it stages what isn't staged yet.
func (x *transaction) PreCommit(ctx context.Context) ([][]byte, error) {
	handles := make([][]byte, len(x.parts))
	for i, p := range x.parts {
		if err := x.t.write(ctx, p); err != nil {
			return nil, err
		}
		var err error
		if handles[i], err = json.Marshal(p.entry); err != nil {
			return nil, fmt.Errorf("saving a part: %w", err)
		}
	}
	return handles, nil
}

// Abort implements [txn.Transaction]: what is staged is deleted by the next start of the job. A task that ends, often because its storage is
// away, doesn't wait for that.
func (*transaction) Abort(context.Context) error { return nil }

// final is the name of a part for readers. It never comes twice: neither do checkpoints of a job, and the rest is random.
func (t *transactions) final(p *part, checkpoint int64) string {
	return fmt.Sprintf("part-%s-%s-%08d-%s%s", component(t.to.stem), component(t.job[:min(6, len(t.job))]), checkpoint, p.unique, t.to.suffix)
}

// reuse keeps a buffer for later.
func (t *transactions) reuse(buf []byte) {
	if cap(buf) == 0 {
		return
	}
	select {
	case t.spare <- buf[:0]:
	default:
	}
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
	t.reuse(p.data)
	p.data = nil
	return nil
}

// again says whether a call may be repeated with hope.
func again(err error) bool {
	return storage.Retriable(err) || errors.Is(err, storage.ErrUnknownOutcome)
}

// Commit implements [txn.Sink]: it moves parts to their final names where they were written, which may be another place than that of this sink now.
func (t *transactions) Commit(ctx context.Context, handles [][]byte) error {
	here, elsewhere := make([]entry, 0, len(handles)), []entry(nil)
	for _, h := range handles {
		var e entry
		if err := json.Unmarshal(h, &e); err != nil {
			return fmt.Errorf("reading the state of the parts: %w", err)
		}
		if e.Store == t.address {
			here = append(here, e)
		} else {
			elsewhere = append(elsewhere, e)
		}
	}
	for _, e := range elsewhere {
		if err := t.publishElsewhere(ctx, e); err != nil {
			return err
		}
	}
	return t.publish(ctx, here)
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

// publishElsewhere moves one part in another store.
func (t *transactions) publishElsewhere(ctx context.Context, e entry) (err error) {
	cfg, err := open.Parse(e.Store)
	if err != nil {
		return fmt.Errorf("opening %s, where %s is to be committed: %w", e.Store, e.Final, err)
	}
	store, err := t.openElse(ctx, cfg)
	if err != nil {
		return fmt.Errorf("opening %s, where %s is to be committed: %w", e.Store, e.Final, err)
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	return publish(ctx, store, e)
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

// AbortLeftovers implements [txn.Sink]: it deletes staged objects of this job and operator, but for those to keep and those of this attempt, which
// the other subtasks may be writing already.
func (t *transactions) AbortLeftovers(ctx context.Context, handles [][]byte) error {
	keep := map[string]bool{}
	for _, h := range handles {
		var e entry
		if err := json.Unmarshal(h, &e); err != nil {
			return fmt.Errorf("reading the state of the parts: %w", err)
		}
		if e.Store == t.address {
			keep[e.Staged] = true
		}
	}
	var stale []string
	err := t.store.List(ctx, t.staging, func(o storage.Object) error {
		if !keep[o.Key] && !strings.HasPrefix(o.Key, t.own) {
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

// Close implements [txn.Sink]: it ends the work beside. It deletes nothing: snapshots may hold what is staged.
func (t *transactions) Close() error {
	if t.stop != nil {
		t.stop()
		<-t.ended
	}
	if t.store == nil {
		return nil
	}
	return t.store.Close()
}

// probe writes and deletes an object, so that missing rights show before any row is processed.
func (t *transactions) probe(ctx context.Context) error {
	key := t.staging + "probe-" + rand.Text()
	if err := t.store.PutIfAbsent(ctx, key, []byte("probe")); err != nil {
		return fmt.Errorf("trying to write: %w", err)
	}
	return t.store.Delete(ctx, key)
}
