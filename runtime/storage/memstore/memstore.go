// SPDX-License-Identifier: Apache-2.0

package memstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/weir-stream/weir/runtime/storage"
)

// Names of operations, as Faults gets them.
const (
	OpGet         = "get"
	OpGetRange    = "getRange"
	OpPutIfAbsent = "putIfAbsent"
	OpSwap        = "swap"
	OpDelete      = "delete"
	OpList        = "list"
	OpPromote     = "promote"
)

// Memory is content that any number of clients share.
type Memory struct {
	name string
	now  func() time.Time

	mu struct {
		sync.Mutex
		objects map[string]object
		version uint64
		held    []Held
	}
}

type object struct {
	data    []byte
	version string
	modTime time.Time
}

// New makes empty content. now gives the ModTime of objects; nil leaves it zero.
func New(name string, now func() time.Time) *Memory {
	if now == nil {
		now = func() time.Time { return time.Time{} }
	}
	m := &Memory{name: name, now: now}
	m.mu.objects = map[string]object{}
	return m
}

// Options of a client.
type Options struct {
	// Faults is asked before every call; nil means none. op is one of the Op constants, key the first key of the call (the
	// prefix of a List, the src of a Promote), call the number of the client's calls before this one.
	// It is called without a lock held.
	Faults func(op, key string, call int) Fault
}

// Client returns a store over the content.
func (m *Memory) Client(o Options) *Client {
	return &Client{mem: m, faults: o.Faults}
}

// Keys returns all keys in order: for tests that look at what was left.
func (m *Memory) Keys() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Sorted(maps.Keys(m.mu.objects))
}

// Corrupt replaces the bytes of an object as a broken disk would, keeping its version. It says whether there is one.
func (m *Memory) Corrupt(key string, change func([]byte) []byte) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	o, ok := m.mu.objects[key]
	if ok {
		o.data = change(bytes.Clone(o.data))
		m.mu.objects[key] = o
	}
	return ok
}

func (m *Memory) get(key string) (object, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	o, ok := m.mu.objects[key]
	return o, ok
}

// setLocked stores a copy of data. The caller holds the lock.
func (m *Memory) setLocked(key string, data []byte, now time.Time) string {
	m.mu.version++
	version := strconv.FormatUint(m.mu.version, 10)
	m.mu.objects[key] = object{data: bytes.Clone(data), version: version, modTime: now}
	return version
}

func (m *Memory) putIfAbsent(key string, data []byte) error {
	now := m.now()
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.mu.objects[key]; ok {
		return storage.ErrExists
	}
	m.setLocked(key, data, now)
	return nil
}

func (m *Memory) swap(key string, data []byte, expected string) (string, error) {
	now := m.now()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.mu.objects[key].version != expected {
		return "", storage.ErrPrecondition
	}
	return m.setLocked(key, data, now), nil
}

func (m *Memory) remove(keys []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, key := range keys {
		delete(m.mu.objects, key)
	}
}

func (m *Memory) promote(src, dst string) error {
	now := m.now()
	m.mu.Lock()
	defer m.mu.Unlock()
	from, hasSrc := m.mu.objects[src]
	to, hasDst := m.mu.objects[dst]
	switch {
	case !hasSrc && !hasDst:
		return storage.ErrNotFound
	case !hasSrc || src == dst:
		return nil
	case hasDst && !bytes.Equal(from.data, to.data):
		return storage.ErrExists
	case !hasDst:
		m.setLocked(dst, from.data, now)
	}
	delete(m.mu.objects, src)
	return nil
}

func (m *Memory) list(prefix string) []storage.Object {
	m.mu.Lock()
	defer m.mu.Unlock()
	var list []storage.Object
	for _, key := range slices.Sorted(maps.Keys(m.mu.objects)) {
		if o := m.mu.objects[key]; strings.HasPrefix(key, prefix) {
			list = append(list, storage.Object{Key: key, Size: int64(len(o.data)), ModTime: o.modTime})
		}
	}
	return list
}

var _ storage.Store = (*Client)(nil)

// Client is a store over a Memory.
type Client struct {
	mem    *Memory
	faults func(op, key string, call int) Fault

	mu struct {
		sync.Mutex
		calls  int
		closed bool
	}
}

// Calls returns how many calls the client had.
func (c *Client) Calls() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.mu.calls
}

// String names the store.
func (c *Client) String() string { return "memory://" + c.mem.name }

// Close makes later calls fail. The content stays.
func (c *Client) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mu.closed = true
	return nil
}

// begin checks and counts a call and asks for its fault.
func (c *Client) begin(ctx context.Context, op string, keys ...string) (Fault, error) {
	for _, key := range keys {
		if op == OpList {
			if err := storage.CheckPrefix(key); err != nil {
				return Fault{}, err
			}
			continue
		}
		if err := storage.CheckKey(key); err != nil {
			return Fault{}, err
		}
	}
	first := ""
	if len(keys) > 0 {
		first = keys[0]
	}
	call, closed := c.count()
	if closed {
		return Fault{}, c.fail(op, first, errors.New("the store is closed"))
	}
	if err := ctx.Err(); err != nil {
		return Fault{}, c.fail(op, first, err)
	}
	if c.faults == nil {
		return None(), nil
	}
	f := c.faults(op, first, call)
	if f.kind == failBefore {
		return f, &storage.Error{Op: gerunds[op], Key: first, Store: c.String(), Retriable: true, Err: f.err}
	}
	return f, nil
}

func (c *Client) count() (call int, closed bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	call = c.mu.calls
	c.mu.calls++
	return call, c.mu.closed
}

var gerunds = map[string]string{
	OpGet: "reading", OpGetRange: "reading", OpPutIfAbsent: "creating", OpSwap: "swapping",
	OpDelete: "deleting", OpList: "listing", OpPromote: "promoting",
}

func (c *Client) fail(op, key string, cause error) error {
	if cause == nil {
		return nil
	}
	return storage.Describe(gerunds[op], key, c.String(), cause)
}

// finish applies a write the way its fault says.
func (c *Client) finish(f Fault, op, key string, write func() error) error {
	switch f.kind {
	case hold:
		c.mem.hold(Held{Op: op, Key: key, apply: write})
	case failAfter:
		if err := write(); err != nil {
			return c.fail(op, key, fmt.Errorf("%w: %w", storage.ErrUnknownOutcome, f.err)) // the refusal is lost as well
		}
	default:
		return c.fail(op, key, write())
	}
	return &storage.Error{
		Op: gerunds[op], Key: key, Store: c.String(), Retriable: true,
		Err: fmt.Errorf("%w: %w", storage.ErrUnknownOutcome, f.err),
	}
}

// Get implements storage.Reader.
func (c *Client) Get(ctx context.Context, key string) ([]byte, string, error) {
	o, err := c.read(ctx, OpGet, key)
	return bytes.Clone(o.data), o.version, err
}

// GetRange implements storage.Reader.
func (c *Client) GetRange(ctx context.Context, key string, off, length int64) ([]byte, error) {
	if off < 0 {
		return nil, c.fail(OpGetRange, key, fmt.Errorf("the offset %d is negative", off))
	}
	o, err := c.read(ctx, OpGetRange, key)
	if err != nil {
		return nil, err
	}
	size := int64(len(o.data))
	off = min(off, size)
	if length < 0 || length > size-off {
		length = size - off
	}
	return bytes.Clone(o.data[off : off+length]), nil
}

func (c *Client) read(ctx context.Context, op, key string) (object, error) {
	f, err := c.begin(ctx, op, key)
	if err != nil {
		return object{}, err
	}
	if f.kind != none {
		return object{}, &storage.Error{Op: gerunds[op], Key: key, Store: c.String(), Retriable: true, Err: f.err}
	}
	o, ok := c.mem.get(key)
	if !ok {
		return object{}, c.fail(op, key, storage.ErrNotFound)
	}
	return o, nil
}

// PutIfAbsent implements storage.Writer.
func (c *Client) PutIfAbsent(ctx context.Context, key string, data []byte) error {
	f, err := c.begin(ctx, OpPutIfAbsent, key)
	if err != nil {
		return err
	}
	data = bytes.Clone(data)
	return c.finish(f, OpPutIfAbsent, key, func() error { return c.mem.putIfAbsent(key, data) })
}

// Swap implements storage.Swapper.
func (c *Client) Swap(ctx context.Context, key string, data []byte, expected string) (string, error) {
	f, err := c.begin(ctx, OpSwap, key)
	if err != nil {
		return "", err
	}
	data = bytes.Clone(data)
	version := ""
	err = c.finish(f, OpSwap, key, func() (err error) {
		version, err = c.mem.swap(key, data, expected)
		return err
	})
	if err != nil {
		return "", err
	}
	return version, nil
}

// Delete implements storage.Writer.
func (c *Client) Delete(ctx context.Context, keys ...string) error {
	f, err := c.begin(ctx, OpDelete, keys...)
	if err != nil || len(keys) == 0 {
		return err
	}
	keys = slices.Clone(keys)
	return c.finish(f, OpDelete, keys[0], func() error { c.mem.remove(keys); return nil })
}

// Promote implements storage.Writer.
func (c *Client) Promote(ctx context.Context, src, dst string) error {
	f, err := c.begin(ctx, OpPromote, src, dst)
	if err != nil {
		return err
	}
	return c.finish(f, OpPromote, src, func() error { return c.mem.promote(src, dst) })
}

// List implements storage.Lister.
func (c *Client) List(ctx context.Context, prefix string, fn func(storage.Object) error) error {
	f, err := c.begin(ctx, OpList, prefix)
	if err != nil {
		return err
	}
	if f.kind != none {
		return &storage.Error{Op: gerunds[OpList], Key: prefix, Store: c.String(), Retriable: true, Err: f.err}
	}
	for _, o := range c.mem.list(prefix) {
		if err := fn(o); err != nil {
			return err
		}
	}
	return nil
}
