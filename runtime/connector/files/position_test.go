// SPDX-License-Identifier: Apache-2.0

package files

import (
	"slices"
	"testing"

	"github.com/weir-stream/weir/runtime/operator"
	"github.com/weir-stream/weir/runtime/operator/txn"
)

func TestCheckState_DeadLettersAreNotDropped(t *testing.T) {
	t.Parallel()
	entries := [][]byte{{1}}
	lists := []operator.List{{Name: listingList, Entries: entries}, {Name: openList, Entries: entries}, {Name: finishedList, Entries: entries}}
	staged := append(slices.Clone(lists), operator.List{Name: txn.ListName, Entries: entries})
	for _, tc := range []struct {
		deadLetters bool
		lists       []operator.List
		ok          bool
	}{{false, lists, true}, {true, lists, true}, {true, staged, true}, {false, staged, false}} {
		if err := CheckState(tc.deadLetters)(tc.lists); (err == nil) != tc.ok {
			t.Errorf("with dead letters %v, %d lists: %v", tc.deadLetters, len(tc.lists), err)
		}
	}
}
