// SPDX-License-Identifier: Apache-2.0

package filestore_test

import (
	"testing"

	"github.com/weir-stream/weir/runtime/storage"
	"github.com/weir-stream/weir/runtime/storage/filestore"
	"github.com/weir-stream/weir/runtime/storage/storagetest"
)

func TestConformance(t *testing.T) {
	t.Parallel()
	dir := t.TempDir() // shared by all: each test sees what the others left
	storagetest.Run(t, func(t *testing.T) storage.Store {
		s, err := filestore.Open(storage.FileConfig{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		return s
	})
}
