// SPDX-License-Identifier: Apache-2.0

package remotestore

import (
	"context"
	"fmt"
	"sync"

	"github.com/weir-stream/weir/runtime/storage"
)

// DefaultLimit is how many bytes the objects of a job without storage may have together.
const DefaultLimit = 64 << 20

const limitRemedy = "a job without storage keeps small checkpoints only: set storage"

// Limited bounds what a store in memory holds; all writes must go through it. Safe for concurrent use.
type Limited struct {
	storage.Store
	limit int64

	mu struct {
		sync.Mutex
		sizes map[string]int64
		total int64
	}
}

// Limit returns a store that refuses to hold more than limit bytes.
func Limit(s storage.Store, limit int64) *Limited {
	l := &Limited{Store: s, limit: limit}
	l.mu.sizes = map[string]int64{}
	return l
}

// PutIfAbsent implements storage.Writer.
func (l *Limited) PutIfAbsent(ctx context.Context, key string, data []byte) error {
	if err := l.reserve("writing", key, int64(len(data))); err != nil {
		return err
	}
	err := l.Store.PutIfAbsent(ctx, key, data)
	l.settle(key, int64(len(data)), err == nil)
	return err
}

// Swap implements storage.Swapper. The head of a job is small and always fits.
func (l *Limited) Swap(ctx context.Context, key string, data []byte, expected string) (string, error) {
	return l.Store.Swap(ctx, key, data, expected)
}

// Delete implements storage.Writer.
func (l *Limited) Delete(ctx context.Context, keys ...string) error {
	err := l.Store.Delete(ctx, keys...)
	if err == nil {
		l.mu.Lock()
		defer l.mu.Unlock()
		for _, key := range keys {
			l.mu.total -= l.mu.sizes[key]
			delete(l.mu.sizes, key)
		}
	}
	return err
}

// Promote implements storage.Writer.
func (l *Limited) Promote(ctx context.Context, src, dst string) error {
	err := l.Store.Promote(ctx, src, dst)
	if err == nil {
		l.mu.Lock()
		defer l.mu.Unlock()
		if size, ok := l.mu.sizes[src]; ok {
			delete(l.mu.sizes, src)
			l.mu.total -= l.mu.sizes[dst]
			l.mu.sizes[dst] = size
		}
	}
	return err
}

// reserve takes room for an object before it is written.
func (l *Limited) reserve(op, key string, size int64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.mu.total+size > l.limit {
		return &storage.Error{
			Op: op, Key: key, Store: l.String(), Err: fmt.Errorf("its %d bytes and the %d that are there exceed the limit of %d", size, l.mu.total, l.limit),
			Remedy: limitRemedy,
		}
	}
	l.mu.total += size
	return nil
}

// settle turns the room that was taken into that of the object, or gives it back.
func (l *Limited) settle(key string, size int64, written bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, counted := l.mu.sizes[key]; !written || counted {
		l.mu.total -= size
		return
	}
	l.mu.sizes[key] = size
}
