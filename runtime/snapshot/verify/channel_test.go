// SPDX-License-Identifier: Apache-2.0

package verify

import (
	"strings"
	"testing"
	"time"

	"github.com/weir-stream/weir/runtime/snapshot"
	"github.com/weir-stream/weir/runtime/storage/memstore"
)

// TestVerify_NewerChannelStateIsNeitherWholeNorDamaged has channel state that a later version wrote: its checksum fits, but nothing can be said of it.
func TestVerify_NewerChannelStateIsNeitherWholeNorDamaged(t *testing.T) {
	c := memstore.New("test", time.Now).Client(memstore.Options{})
	b := snapshot.AppendChannelHeader(nil)
	b[len(b)-1]++
	if err := c.PutIfAbsent(t.Context(), "a/channels", b); err != nil {
		t.Fatal(err)
	}
	section := snapshot.ChannelState{From: "src", Path: "channels", Length: int64(len(b)), CRC32C: snapshot.Checksum(b), Rows: 1}
	ds, err := fileReader{store: c, dir: "a/"}.checkChannels(t.Context(), snapshot.ChannelFile{Path: "channels", Size: int64(len(b)), Sections: []snapshot.ChannelState{section}})
	if err == nil || !strings.Contains(err.Error(), "use the version of Weir that wrote it") || len(ds) > 0 {
		t.Errorf("got %v and damages %v", err, ds)
	}
}
