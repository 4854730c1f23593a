// SPDX-License-Identifier: Apache-2.0

package storagetest

import (
	"context"
	"errors"
	"testing"

	"github.com/weir-stream/weir/runtime/storage"
)

// canceled checks that no call goes on with a context that has ended.
func canceled(t *testing.T, s storage.Store) {
	must(t, s.PutIfAbsent(t.Context(), "canceled/x", []byte("x")))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, _, getErr := s.Get(ctx, "canceled/x")
	_, rangeErr := s.GetRange(ctx, "canceled/x", 0, 1)
	_, swapErr := s.Swap(ctx, "canceled/head", []byte("x"), "")
	for op, err := range map[string]error{
		"Get": getErr, "GetRange": rangeErr, "Swap": swapErr,
		"PutIfAbsent": s.PutIfAbsent(ctx, "canceled/y", []byte("x")),
		"Delete":      s.Delete(ctx, "canceled/x"),
		"Promote":     s.Promote(ctx, "canceled/x", "canceled/z"),
		"List":        s.List(ctx, "canceled/", func(storage.Object) error { return nil }),
	} {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s = %v, want %v", op, err, context.Canceled)
		}
	}
	if got := keysBelow(t, s, "canceled/"); len(got) != 1 {
		t.Errorf("keys: %q", got)
	}
}
