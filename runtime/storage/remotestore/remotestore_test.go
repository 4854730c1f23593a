// SPDX-License-Identifier: Apache-2.0

package remotestore_test

import (
	"encoding/base64"
	"errors"
	"net"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/weir-stream/weir/runtime/storage"
	"github.com/weir-stream/weir/runtime/storage/memstore"
	"github.com/weir-stream/weir/runtime/storage/remotestore"
	"github.com/weir-stream/weir/runtime/storage/storagetest"
	"github.com/weir-stream/weir/runtime/transport/control"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// serve serves a store on loopback and returns a client of it, and what ends the server.
func serve(t *testing.T, s storage.Store) (c *remotestore.Client, end func()) {
	t.Helper()
	server := control.NewServer(nil, func(control.CoordinatorStream) error { return nil })
	remotestore.Register(server, s)
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- server.Serve(l) }()
	if c, err = remotestore.Dial(l.Addr().String(), nil); err != nil {
		t.Fatal(err)
	}
	ended := false
	end = func() {
		if !ended {
			ended = true
			server.Stop()
			if err := <-done; err != nil {
				t.Errorf("the server ended: %v", err)
			}
		}
	}
	t.Cleanup(func() {
		_ = c.Close()
		end()
	})
	return c, end
}

func TestConformance(t *testing.T) {
	storagetest.Run(t, func(t *testing.T) storage.Store {
		c, _ := serve(t, remotestore.Limit(memstore.New("test", nil).Client(memstore.Options{}), remotestore.DefaultLimit))
		return c
	})
}

func TestLimited_RefusesWhatIsTooMuch(t *testing.T) {
	c, _ := serve(t, remotestore.Limit(memstore.New("test", nil).Client(memstore.Options{}), 100))
	put := func(key string, n int) error { return c.PutIfAbsent(t.Context(), key, make([]byte, n)) }
	if err := errors.Join(put("a", 60), put("b", 40)); err != nil {
		t.Fatal(err)
	}
	if err := put("a", 0); err != nil && !errors.Is(err, storage.ErrExists) {
		t.Errorf("a repeat: %v", err)
	}
	err := put("c", 1)
	if err == nil || !strings.Contains(err.Error(), "set storage") || !strings.Contains(err.Error(), "exceed the limit of 100") {
		t.Errorf("one byte too many: %v", err)
	}
	if err := c.Promote(t.Context(), "b", "d"); err != nil {
		t.Fatal(err)
	}
	if err := c.Delete(t.Context(), "d", "none"); err != nil {
		t.Fatal(err)
	}
	if err := put("e", 40); err != nil {
		t.Errorf("after the deletion: %v", err)
	}
	if err := put("f", 1); err == nil {
		t.Error("one byte too many was taken")
	}
}

func TestClient_ALostServerLeavesWritesUnknown(t *testing.T) {
	c, end := serve(t, memstore.New("test", nil).Client(memstore.Options{}))
	if err := c.PutIfAbsent(t.Context(), "a", []byte("1")); err != nil {
		t.Fatal(err)
	}
	end()
	if err := c.PutIfAbsent(t.Context(), "b", nil); !errors.Is(err, storage.ErrUnknownOutcome) || !storage.Retriable(err) {
		t.Errorf("writing: %v", err)
	}
	if _, _, err := c.Get(t.Context(), "a"); err == nil || errors.Is(err, storage.ErrUnknownOutcome) || errors.Is(err, storage.ErrNotFound) || !storage.Retriable(err) {
		t.Errorf("reading: %v", err)
	}
}

func TestClient_RefusesWhatNoMessageCarries(t *testing.T) {
	c, _ := serve(t, memstore.New("test", nil).Client(memstore.Options{}))
	const most = control.MaxMessage/4*3 - 64<<10
	if room := control.MaxMessage - base64.StdEncoding.EncodedLen(most); room < 4096 {
		t.Errorf("%d bytes are left for the key, want more", room)
	}
	err := c.PutIfAbsent(t.Context(), "more", make([]byte, most+1))
	if err == nil || storage.Retriable(err) || !strings.Contains(err.Error(), "set storage") {
		t.Errorf("one byte too many: %v", err)
	}
}
