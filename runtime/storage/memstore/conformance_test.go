// SPDX-License-Identifier: Apache-2.0

package memstore_test

import (
	"testing"

	"github.com/weir-stream/weir/runtime/storage"
	"github.com/weir-stream/weir/runtime/storage/memstore"
	"github.com/weir-stream/weir/runtime/storage/storagetest"
)

func TestConformance(t *testing.T) {
	t.Parallel()
	storagetest.Run(t, func(*testing.T) storage.Store { return memstore.New("test", nil).Client(memstore.Options{}) })
}
