// SPDX-License-Identifier: Apache-2.0

package files

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/zeebo/xxh3"

	"github.com/weir-stream/weir/runtime/connector/format"
	"github.com/weir-stream/weir/runtime/contract"
	"github.com/weir-stream/weir/runtime/operator"
	"github.com/weir-stream/weir/runtime/record"
	"github.com/weir-stream/weir/runtime/task"
)

// Names of the counters of a source.
const (
	counterMalformed    = "malformedLines"
	counterUnterminated = "unterminatedLines"
	counterGone         = "goneFiles"
)

// defaultPollInterval is the time between two listings.
const defaultPollInterval = 10 * time.Second

// policy says what happens to a malformed line.
type policy string

const (
	failOnMalformed policy = "Fail"
	skipMalformed   policy = "Skip"
	deadLetter      policy = "DeadLetter"
)

// lineTaker is the part of a decoder that takes lines.
type lineTaker interface {
	Append(line []byte) error
	Full() bool
}

// input is what a source is told.
type input struct {
	path       string
	settings   *contract.S3
	continuous bool
	interval   time.Duration
	policy     policy
	// dead is where malformed lines go.
	dead target
	open opener
}

// lineReader hands lines out and knows the position. It is the source without its rows.
type lineReader struct {
	in      input
	reader  *reader
	tree    tree
	stop    context.CancelFunc
	running sync.WaitGroup
	count   *operator.Counters

	files map[xxh3.Uint128]*file
	cur   *chunk
	// at is how much of cur is handed out.
	at    int
	idle  bool
	ended bool
	dead  *letters
}

func (l *lineReader) open(ctx context.Context, c *operator.Context) (err error) {
	l.count, l.files = c.Counters, map[xxh3.Uint128]*file{}
	if l.tree, err = openTree(ctx, l.in.path, l.in.settings, l.in.open); err != nil {
		return err
	}
	if l.in.policy == deadLetter {
		if l.dead, err = openLetters(ctx, c, l.in.dead); err != nil {
			return err
		}
	}
	l.reader = newReader(c, l.tree, l.in.continuous, l.in.interval)
	if err := l.start(ctx, c); err != nil {
		return err
	}
	ctx, l.stop = context.WithCancel(ctx)
	l.running.Go(func() { l.reader.run(ctx) })
	return nil
}

// start finds out which files to read: those of the state, those of a listing, or both.
func (l *lineReader) start(ctx context.Context, c *operator.Context) error {
	before, restored, listed, err := decodeState(c)
	if err != nil {
		return err
	}
	for _, f := range restored {
		l.files[f.id] = f
		l.reader.remember(f)
	}
	if listed && before.Bounded && !l.in.continuous {
		l.reader.sort()
		return nil // the set of files was fixed at the first start
	}
	found, gone, err := l.reader.look(ctx)
	if err != nil {
		return err
	}
	for _, f := range found {
		l.files[f.id] = f
	}
	for _, f := range gone {
		delete(l.files, f.id)
	}
	c.Log.V(1).Info("Listed files", "path", l.in.path, "files", len(l.files))
	return nil
}

// fill hands lines to to, until it is full or no more are there.
func (l *lineReader) fill(to lineTaker) error {
	for !to.Full() {
		if l.dead != nil && !l.dead.room() {
			return l.dead.err()
		}
		if l.cur == nil {
			if l.ended {
				return nil
			}
			select {
			case m := <-l.reader.out:
				if err := l.take(m); err != nil {
					return err
				}
			default:
				return nil
			}
			continue
		}
		if err := l.cut(to); err != nil {
			return err
		}
	}
	return nil
}

// take takes a message of the reader.
func (l *lineReader) take(m message) error {
	for _, f := range m.found {
		l.files[f.id] = f
	}
	for _, f := range m.gone {
		delete(l.files, f.id)
	}
	l.idle, l.ended = m.idle, m.end
	if m.chunk != nil {
		l.cur, l.at = m.chunk, 0
	}
	return m.err
}

// cut hands out lines of the current chunk.
func (l *lineReader) cut(to lineTaker) error {
	data := l.cur.data
	for l.at < len(data) && !to.Full() {
		line := data[l.at:]
		next := len(data)
		if i := bytes.IndexByte(line, '\n'); i >= 0 {
			line, next = line[:i], l.at+i+1
		}
		if n := len(line); n > 0 && line[n-1] == '\r' {
			line = line[:n-1]
		}
		if err := to.Append(line); err != nil {
			if err := l.malformed(line, err); err != nil {
				return err
			}
		}
		l.at = next
	}
	if l.at < len(data) {
		return nil
	}
	l.cur.file.pos = l.cur.after
	l.reader.free <- l.cur.buf // there are as many places as buffers
	l.cur = nil
	return nil
}

// malformed applies the policy to a line.
func (l *lineReader) malformed(line []byte, cause error) error {
	at := l.cur.start + int64(l.at)
	name := l.tree.path(l.cur.file.name)
	bad, ok := errors.AsType[*format.MalformedError](cause)
	if !ok {
		return fmt.Errorf("reading %s: the line at byte %d: %w", name, at, cause)
	}
	switch l.in.policy {
	case skipMalformed:
		l.count.Add(counterMalformed, 1)
		return nil
	case deadLetter:
		l.count.Add(counterMalformed, 1)
		l.dead.add(name, at, bad, line)
		return nil
	default:
		return &task.FatalError{Err: fmt.Errorf("reading %s: malformed line at byte %d: byte %d of the line: %s: "+
			"correct the file, or set onMalformed to Skip or DeadLetter", name, at, bad.Offset, bad.Reason)}
	}
}

// state says how to go on after fill.
func (l *lineReader) state(rows int) operator.Polled {
	switch {
	case rows > 0 || l.cur != nil && (l.dead == nil || l.dead.room()):
		return operator.Polled{State: operator.More}
	case l.cur == nil && l.ended:
		return operator.Polled{State: operator.End}
	}
	return operator.Polled{State: operator.Wait, Idle: l.idle}
}

// Snapshot implements [operator.Stateful].
func (l *lineReader) Snapshot(b record.Barrier) (operator.AsyncSnapshot, error) {
	all := make([]file, 0, len(l.files))
	for _, f := range l.files {
		all = append(all, *f)
		if l.cur == nil || l.cur.file != f || l.at == 0 {
			continue
		}
		p := &all[len(all)-1].pos
		head := *p
		*p = position{
			Offset: l.cur.start + int64(l.at), Head: head.Head, HeadLen: head.HeadLen,
		}
		if p.HeadLen == 0 {
			p.HeadLen = min(l.at, sampleBytes)
			p.Head = xxh3.Hash(l.cur.data[:p.HeadLen])
		}
		p.Tail, p.TailLen = sampleTail(l.cur.data, l.at)
	}
	now := listing{Path: l.in.path, Bounded: !l.in.continuous}
	var dead operator.AsyncSnapshot
	if l.dead != nil {
		dead = l.dead.snapshot(b)
	}
	return func(ctx context.Context) ([]operator.List, error) {
		lists, err := encodeState(now, all)
		if err != nil || dead == nil {
			return lists, err
		}
		more, err := dead(ctx)
		return append(lists, more...), err
	}, nil
}

// NotifyComplete makes dead letters visible.
func (l *lineReader) NotifyComplete(ctx context.Context, checkpoint int64) error {
	if l.dead == nil {
		return nil
	}
	return l.dead.complete(ctx, checkpoint)
}

// NotifyAborted has nothing to do: what the snapshot held belongs to the next one.
func (l *lineReader) NotifyAborted(int64) {}

// Finish makes dead letters visible when there are no snapshots.
func (l *lineReader) Finish() (operator.Status, error) {
	if l.dead == nil {
		return operator.Done, nil
	}
	return operator.Done, l.dead.finish()
}

// Close implements [operator.Source].
func (l *lineReader) Close() error {
	if l.stop != nil {
		l.stop()
		l.running.Wait()
	}
	var err error
	if l.dead != nil {
		err = l.dead.close()
	}
	if l.tree != nil {
		l.tree.close()
	}
	return err
}

// source is a files source with a decoder.
type source struct {
	lineReader
	newDecoder func() format.Decoder
	decoder    format.Decoder
	batch      record.Batch
}

// Open implements [operator.Source].
func (s *source) Open(ctx context.Context, c *operator.Context) error {
	s.decoder = s.newDecoder()
	return atStart(c, s.open(ctx, c))
}

// Poll implements [operator.Source].
func (s *source) Poll() (operator.Polled, error) {
	s.release()
	if err := s.fill(s.decoder); err != nil {
		return operator.Polled{}, err
	}
	p := s.state(s.decoder.Len())
	if s.decoder.Len() > 0 {
		s.batch = s.decoder.Take()
		p.Batch = s.batch
	}
	return p, nil
}

func (s *source) release() {
	if s.batch != nil {
		s.batch.Release()
		s.batch = nil
	}
}

// Close implements [operator.Source].
func (s *source) Close() error {
	s.release()
	return s.lineReader.Close()
}
