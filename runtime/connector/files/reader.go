// SPDX-License-Identifier: Apache-2.0

package files

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-logr/logr"
	"github.com/zeebo/xxh3"

	"github.com/weir-stream/weir/runtime/operator"
)

const (
	// chunkCount is how many chunks there are: one being filled, one being cut into lines, the others in between.
	chunkCount = 4
	// maxLine is how long a line may be.
	maxLine = 16 << 20
	// forgetAfter is in how many listings after each other a file must be missing to be forgotten.
	forgetAfter = 3
)

// chunk is whole lines of a file, with the position after them.
type chunk struct {
	file *file
	data []byte
	// start is the offset of data in the file.
	start int64
	// after is the position once data is handed out.
	after position
	buf   []byte
}

// message is what the reader tells the task, in order.
type message struct {
	// found are files to be remembered from now on, gone are files to be forgotten.
	found []*file
	gone  []*file
	chunk *chunk
	// idle says that there is nothing to read for now, end that there will be nothing more.
	idle, end bool
	err       error
}

// track is what the reader knows of a file. Its position is ahead of that of the task.
type track struct {
	file *file
	name string
	pos  position
	// now is what the last listing said; restored that the position is from a snapshot.
	now      info
	restored bool
	missing  int
	queued   bool
}

// reader lists and reads the files of one subtask in a goroutine of its own.
type reader struct {
	tree     tree
	out      chan message
	free     chan []byte
	wake     func()
	log      logr.Logger
	counters *operator.Counters

	continuous           bool
	interval             time.Duration
	subtask, parallelism int

	known map[xxh3.Uint128]*track
	queue []*track
	carry []byte
}

func newReader(c *operator.Context, t tree, continuous bool, interval time.Duration) *reader {
	r := &reader{
		tree: t, out: make(chan message, 2), free: make(chan []byte, chunkCount), wake: c.Wake, log: c.Log, counters: c.Counters,
		continuous: continuous, interval: interval, subtask: c.Subtask, parallelism: c.Parallelism, known: map[xxh3.Uint128]*track{},
	}
	for range chunkCount {
		r.free <- nil
	}
	return r
}

// remember takes a file over from the state.
func (r *reader) remember(f *file) {
	t := &track{file: f, name: f.name, pos: f.pos, restored: true}
	t.now = info{name: f.name, modTime: f.pos.ModTime}
	r.known[f.id] = t
	if !f.pos.Done {
		r.enqueue(t)
	}
}

func (r *reader) enqueue(t *track) {
	if !t.queued {
		t.queued = true
		r.queue = append(r.queue, t)
	}
}

// look lists the files, queues what is to be read and returns what is new and what is gone.
func (r *reader) look(ctx context.Context) (found, gone []*file, err error) {
	listed := make(map[xxh3.Uint128]bool, len(r.known))
	err = r.tree.list(ctx, func(i info) {
		id := identify(i.name)
		if !owned(id, r.subtask, r.parallelism) {
			return
		}
		listed[id] = true
		t := r.known[id]
		if t == nil {
			t = &track{file: &file{name: i.name, id: id}, name: i.name}
			r.known[id] = t
			found = append(found, t.file)
		}
		t.now, t.name, t.missing = i, i.name, 0
		if !t.pos.Done || i.size != t.pos.Seen || i.modTime != t.pos.ModTime {
			r.enqueue(t)
		}
	})
	if err != nil {
		return nil, nil, err
	}
	for id, t := range r.known {
		if listed[id] || t.queued {
			continue // a queued file that is missing is noticed when it is opened
		}
		if t.missing++; t.missing >= forgetAfter {
			gone = append(gone, t.file)
			r.forget(t)
		}
	}
	r.sort()
	return found, gone, nil
}

// forget drops a file that is gone.
func (r *reader) forget(t *track) {
	delete(r.known, t.file.id)
	if t.pos.Offset < t.pos.Seen {
		r.counters.Add(counterUnterminated, 1)
		r.log.Info("Ignoring the last line of a file that was deleted: it has no line end", "file", r.tree.path(t.name), "offset", t.pos.Offset)
	}
}

// sort puts the queue into the order of names; what was begun before a restore comes first.
func (r *reader) sort() {
	slices.SortStableFunc(r.queue, func(a, b *track) int {
		if ab, bb := a.pos.Offset > 0 && !a.pos.Done, b.pos.Offset > 0 && !b.pos.Done; ab != bb {
			if ab {
				return -1
			}
			return 1
		}
		return strings.Compare(a.name, b.name)
	})
}

// run reads until ctx ends, or everything is read. What it ends with goes to the task.
func (r *reader) run(ctx context.Context) {
	err := r.loop(ctx)
	if ctx.Err() != nil {
		return
	}
	_ = r.send(ctx, message{end: true, err: err}) // fails only when nobody listens any more
}

func (r *reader) loop(ctx context.Context) error {
	for {
		for len(r.queue) > 0 {
			t := r.queue[0]
			r.queue = r.queue[1:]
			t.queued = false
			if err := r.read(ctx, t); err != nil {
				return err
			}
		}
		if !r.continuous {
			return nil
		}
		if err := r.send(ctx, message{idle: true}); err != nil {
			return err
		}
		if err := r.lookLater(ctx); err != nil {
			return err
		}
	}
}

// lookLater lists again after the interval.
func (r *reader) lookLater(ctx context.Context) error {
	timer := time.NewTimer(r.interval)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
	}
	found, gone, err := r.look(ctx)
	if err != nil {
		return err
	}
	if len(found)+len(gone) == 0 {
		return nil
	}
	return r.send(ctx, message{found: found, gone: gone})
}

func (r *reader) send(ctx context.Context, m message) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case r.out <- m:
		r.wake()
		return nil
	}
}

// read reads a file from its position to its end.
func (r *reader) read(ctx context.Context, t *track) error {
	obj, err := r.tree.open(ctx, t.name)
	if err == nil {
		defer obj.close()
		err = r.verify(ctx, t, obj)
	}
	if err == nil {
		err = r.readOpen(ctx, t, obj)
	}
	if errors.Is(err, errGone) {
		return r.missing(ctx, t)
	}
	return err
}

// missing handles a file that is deleted before it was read to its end.
func (r *reader) missing(ctx context.Context, t *track) error {
	if r.continuous && (t.pos.Done || t.pos.HeadLen == 0 && !t.restored) {
		r.forget(t)
		r.counters.Add(counterGone, 1)
		r.log.Info("Skipping a file that was deleted before it was read", "file", r.tree.path(t.name))
		return r.send(ctx, message{gone: []*file{t.file}})
	}
	return fmt.Errorf("reading %s: it was deleted or moved, but only its first %d bytes had been read: put it back; "+
		"a file may be removed once a checkpoint has completed after it was read", r.tree.path(t.name), t.pos.Offset)
}

// verify makes sure that a file that was read before still begins with what was read.
func (r *reader) verify(ctx context.Context, t *track, obj object) error {
	if t.pos.HeadLen == 0 {
		return nil
	}
	for _, s := range []struct {
		at   int64
		n    int
		hash uint64
	}{{0, t.pos.HeadLen, t.pos.Head}, {t.pos.Offset - int64(t.pos.TailLen), t.pos.TailLen, t.pos.Tail}} {
		buf := make([]byte, s.n)
		n, err := obj.readAt(ctx, buf, s.at)
		if err != nil {
			return err
		}
		if n < s.n || xxh3.Hash(buf) != s.hash {
			return fmt.Errorf("reading %s: it was overwritten: %d bytes of it were read before, and now it is shorter or begins with others: "+
				"files may only grow; put the old content back and write the new content under a new name", r.tree.path(t.name), t.pos.Offset)
		}
	}
	return nil
}

// readOpen hands on the lines of an open file.
func (r *reader) readOpen(ctx context.Context, t *track, obj object) error {
	r.carry = r.carry[:0]
	off := t.pos.Offset
	for {
		buf, err := r.buffer(ctx)
		if err != nil {
			return err
		}
		buf, cut, eof, err := r.readLines(ctx, obj, buf, off)
		if errors.Is(err, errLongLine) {
			return fmt.Errorf("reading %s: the line at byte %d %w: is it a text file?", r.tree.path(t.name), off, err)
		}
		if err != nil {
			return err
		}
		r.carry = append(r.carry[:0], buf[cut:]...)
		r.advance(t, buf[:cut], off, int64(len(r.carry)), eof)
		if err := r.send(ctx, message{chunk: &chunk{file: t.file, data: buf[:cut], start: off, after: t.pos, buf: buf}}); err != nil {
			return err
		}
		if off += int64(cut); eof {
			return nil
		}
	}
}

var errLongLine = fmt.Errorf("is longer than %d MiB", maxLine>>20)

// readLines fills buf with what is at off, of which the carry is the beginning, until it has a whole line or the end of the
// file. It returns the bytes, which may be in a larger buffer, and how many of them are whole lines.
func (r *reader) readLines(ctx context.Context, obj object, buf []byte, off int64) (data []byte, cut int, eof bool, err error) {
	for len(buf) <= len(r.carry) {
		buf = make([]byte, 2*len(buf))
	}
	n := copy(buf, r.carry)
	for {
		m, err := obj.readAt(ctx, buf[n:], off+int64(n))
		if err != nil {
			return nil, 0, false, err
		}
		n += m
		eof, cut = n < len(buf), n
		if !eof || r.continuous {
			cut = bytes.LastIndexByte(buf[:n], '\n') + 1
		}
		switch {
		case cut > 0 || eof:
			return buf[:n], cut, eof, nil
		case len(buf) >= maxLine:
			return nil, 0, false, errLongLine
		}
		larger := make([]byte, 2*len(buf))
		copy(larger, buf)
		buf = larger
	}
}

// advance moves the reader's position over data, which begins at off and is followed by rest bytes without a line end.
func (r *reader) advance(t *track, data []byte, off, rest int64, eof bool) {
	p := &t.pos
	if p.HeadLen == 0 {
		p.HeadLen = min(len(data), sampleBytes)
		p.Head = xxh3.Hash(data[:p.HeadLen])
	}
	if len(data) > 0 {
		p.Offset = off + int64(len(data))
		p.Tail, p.TailLen = sampleTail(data, len(data))
	}
	p.Done = eof
	if eof {
		p.Seen, p.ModTime = p.Offset+rest, t.now.modTime
	}
}

// buffer takes a free buffer.
func (r *reader) buffer(ctx context.Context) ([]byte, error) {
	select {
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case b := <-r.free:
		if b == nil {
			b = make([]byte, r.tree.chunk())
		}
		return b[:cap(b)], nil
	}
}
