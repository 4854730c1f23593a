// SPDX-License-Identifier: Apache-2.0

package files

import (
	"bytes"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/zeebo/xxh3"

	"github.com/weir-stream/weir/internal/fuzztest"
	"github.com/weir-stream/weir/runtime/operator"
	"github.com/weir-stream/weir/runtime/operator/operatortest"
)

// FuzzDecodeState reads entries of any content as the state of a source: no panic, memory in proportion to them, an error or positions that are the same after they
// were written and read again.
func FuzzDecodeState(f *testing.F) {
	lists := operatortest.Read(f, "source-bounded-1.golden")
	f.Add(lists[0].Entries[0], lists[1].Entries[0], lists[2].Entries[0])
	f.Add([]byte(`{"path":"a","bounded":false}`), []byte(`{"file":"b","offset":1,"tailLen":2}`), []byte{})
	f.Add([]byte(`{}`), []byte(`{"file":"b","offset":9223372036854775807,"tailLen":1024,"headLen":1025}`), bytes.Repeat([]byte{0xff}, finishedSize))
	f.Add([]byte(`null`), []byte(`null`), make([]byte, 3*finishedSize+1))
	bound := fuzztest.Bound{PerByte: 100}
	f.Fuzz(func(t *testing.T, l, unread, finished []byte) {
		c := &operator.Context{Parallelism: 1, Restored: []operator.List{
			{Name: listingList, Entries: [][]byte{l}}, {Name: openList, Entries: [][]byte{unread}}, {Name: finishedList, Entries: [][]byte{finished}},
		}}
		var before listing
		var files []*file
		var err error
		bound.Check(t, len(l)+len(unread)+len(finished), func() { before, files, _, err = decodeState(c) })
		if err != nil {
			if err.Error() == "" || len(err.Error()) > 1<<10+2*len(unread)+2*len(l) {
				t.Fatalf("an error of %d bytes", len(err.Error()))
			}
			return
		}
		all := make([]file, 0, len(files))
		for _, f := range files {
			all = append(all, *f)
		}
		if c.Restored, err = encodeState(before, all); err != nil {
			t.Fatalf("what was read can't be written: %v", err)
		}
		after, again, _, err := decodeState(c)
		if err != nil {
			t.Fatalf("what was written can't be read: %v", err)
		}
		byID := func(a, b *file) int {
			return bytes.Compare(appendFinished(nil, a), appendFinished(nil, b))
		}
		slices.SortFunc(files, byID)
		slices.SortFunc(again, byID)
		if d := cmp.Diff(files, again, cmp.AllowUnexported(file{}, xxh3.Uint128{}), cmpopts.EquateEmpty()); d != "" || before != after {
			t.Errorf("%+v became %+v (-read +written and read):\n%s", before, after, d)
		}
	})
}
