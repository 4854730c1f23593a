// SPDX-License-Identifier: Apache-2.0

package coordinator

import (
	"strings"
	"testing"
	"time"

	"github.com/weir-stream/weir/runtime/snapshot"
	"github.com/weir-stream/weir/runtime/storage/memstore"
)

// TestTrySwap_SaysThatTheHeadIsGone shows that an emptied storage is told from one that can't be reached, and that no new head is made in it.
func TestTrySwap_SaysThatTheHeadIsGone(t *testing.T) {
	store := memstore.New("test", time.Now).Client(memstore.Options{})
	const dir = "ns/job/0123456789/"
	head := snapshot.Head{Format: snapshot.HeadFormat, Seq: 1, Owner: "o", Epoch: snapshot.Epoch{Grant: 1, N: 1}, JobID: "0123456789", ReservedUntil: 1}
	v, outcome, err := trySwap(t.Context(), store, dir, "", head)
	if outcome != snapshot.Swapped || err != nil {
		t.Fatal(outcome, err)
	}
	if err := store.Delete(t.Context(), dir+snapshot.HeadName); err != nil {
		t.Fatal(err)
	}
	head.Seq = 2
	_, outcome, err = trySwap(t.Context(), store, dir, v, head)
	if outcome != snapshot.SwapUnknown || err == nil || !strings.Contains(err.Error(), dir+"head.json is gone") {
		t.Errorf("outcome %s, error %v", outcome, err)
	}
	if _, _, found, err := readHead(t.Context(), store, dir); found || err != nil {
		t.Errorf("a head is there: %t, %v", found, err)
	}
}
