// SPDX-License-Identifier: Apache-2.0

package storage_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/weir-stream/weir/runtime/storage"
	"github.com/weir-stream/weir/runtime/storage/memstore"
)

// sloppy is a store that breaks promises.
type sloppy struct {
	storage.Store
	put  func(s *sloppy, ctx context.Context, key string, data []byte) error
	swap func(s *sloppy, ctx context.Context, key string, data []byte, expected string) (string, error)
	list bool
	gate gate
}

func (s *sloppy) PutIfAbsent(ctx context.Context, key string, data []byte) error {
	if s.put == nil {
		return s.Store.PutIfAbsent(ctx, key, data)
	}
	return s.put(s, ctx, key, data)
}

func (s *sloppy) Swap(ctx context.Context, key string, data []byte, expected string) (string, error) {
	if s.swap == nil {
		return s.Store.Swap(ctx, key, data, expected)
	}
	return s.swap(s, ctx, key, data, expected)
}

func (s *sloppy) List(ctx context.Context, prefix string, fn func(storage.Object) error) error {
	if s.list {
		return nil
	}
	return s.Store.List(ctx, prefix, fn)
}

// overwrite writes whatever is there.
func (s *sloppy) overwrite(ctx context.Context, key string, data []byte) (string, error) {
	for {
		_, version, err := s.Get(ctx, key)
		if err != nil && !errors.Is(err, storage.ErrNotFound) {
			return "", err
		}
		if version, err := s.Store.Swap(ctx, key, data, version); !errors.Is(err, storage.ErrPrecondition) {
			return version, err
		}
	}
}

// gate holds callers until as many as the probe has writers are there.
type gate struct {
	sync.Mutex
	open    chan struct{}
	waiting int
}

func (g *gate) wait() {
	g.Lock()
	if g.open == nil {
		g.open = make(chan struct{})
	}
	open := g.open
	if g.waiting++; g.waiting == 8 {
		g.waiting, g.open = 0, nil
		close(open)
	}
	g.Unlock()
	<-open
}

func TestProbe_RefusesSloppyStores(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		store *sloppy
		want  string
	}{
		"puts overwrite": {
			&sloppy{put: func(s *sloppy, ctx context.Context, key string, data []byte) error {
				_, err := s.overwrite(ctx, key, data)
				return err
			}}, "created over another",
		},
		"swaps overwrite": {
			&sloppy{swap: func(s *sloppy, ctx context.Context, key string, data []byte, _ string) (string, error) {
				return s.overwrite(ctx, key, data)
			}}, "created by a swap over another",
		},
		"versions are ignored": {
			&sloppy{swap: func(s *sloppy, ctx context.Context, key string, data []byte, expected string) (string, error) {
				if expected == "" {
					return s.Store.Swap(ctx, key, data, expected)
				}
				return s.overwrite(ctx, key, data)
			}}, "replaced whose version is another",
		},
		"puts look before they leap": {
			&sloppy{put: func(s *sloppy, ctx context.Context, key string, data []byte) error {
				if _, _, err := s.Get(ctx, key); err == nil {
					return s.Store.PutIfAbsent(ctx, key, data)
				}
				s.gate.wait()
				_, err := s.overwrite(ctx, key, data)
				return err
			}}, "creating with racing writers",
		},
		"swaps look before they leap": {
			&sloppy{swap: func(s *sloppy, ctx context.Context, key string, data []byte, expected string) (string, error) {
				if _, version, _ := s.Get(ctx, key); version != expected || !strings.HasSuffix(key, "/swap") {
					return s.Store.Swap(ctx, key, data, expected)
				}
				s.gate.wait()
				return s.overwrite(ctx, key, data)
			}}, "swapping with racing writers",
		},
		"nobody wins": {
			&sloppy{put: func(s *sloppy, ctx context.Context, key string, data []byte) error {
				if strings.Contains(key, "create") {
					return storage.ErrExists
				}
				return s.Store.PutIfAbsent(ctx, key, data)
			}}, "nobody won",
		},
		"lists nothing": {&sloppy{list: true}, "not listed"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			mem := memstore.New("sloppy", nil)
			tc.store.Store = mem.Client(memstore.Options{})
			err := storage.Probe(t.Context(), tc.store)
			e, ok := errors.AsType[*storage.Error](err)
			if !ok || !strings.Contains(err.Error(), tc.want) || !strings.Contains(e.Remedy, "If-None-Match") {
				t.Errorf("Probe = %v, want %q in it", err, tc.want)
			}
			if left := mem.Keys(); len(left) != 0 {
				t.Errorf("the probe leaves %q", left)
			}
		})
	}
}

func TestProbe_TakesLostAnswers(t *testing.T) {
	t.Parallel()
	mem := memstore.New("lossy", nil)
	client := mem.Client(memstore.Options{Faults: func(op, key string, call int) memstore.Fault {
		if strings.HasSuffix(key, "conditions") || op != memstore.OpSwap && op != memstore.OpPutIfAbsent || call%3 != 0 {
			return memstore.None()
		}
		return memstore.FailAfter(nil)
	}})
	if err := storage.Probe(t.Context(), client); err != nil {
		t.Error(err)
	}
}
