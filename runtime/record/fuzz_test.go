// SPDX-License-Identifier: Apache-2.0

package record_test

import (
	"bytes"
	"encoding/hex"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-stream/weir/internal/fuzztest"
	"github.com/weir-stream/weir/runtime/record"
)

// FuzzCoder decodes single values: memory is in proportion to the bytes, what is understood comes back the same after it is encoded, and nothing refers to the bytes it came from.
func FuzzCoder(f *testing.F) {
	mixedCoder, ints, texts := record.MustCoderOf[mixed](), record.MustCoderOf[int64](), record.MustCoderOf[string]()
	for _, v := range values() {
		f.Add(mixedCoder.Append(nil, v))
	}
	f.Add(ints.Append(nil, -1))
	f.Add(texts.Append(nil, "weir"))
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01})
	f.Fuzz(func(t *testing.T, src []byte) {
		decode(t, mixedCoder, src)
		decode(t, ints, src)
		decode(t, texts, src)
	})
}

func decode[T any](t *testing.T, c record.Coder[T], src []byte) {
	t.Helper()
	own := bytes.Clone(src)
	var v T
	var rest []byte
	var err error
	fuzztest.Bound{PerByte: 16}.Check(t, len(src), func() { v, rest, err = c.Decode(own) })
	if err != nil {
		return
	}
	if !bytes.HasSuffix(src, rest) {
		t.Fatalf("%s: %d bytes are left that aren't the end of the input", c.Name(), len(rest))
	}
	once := c.Append(nil, v)
	again, rest, err := c.Decode(once)
	if err != nil || len(rest) > 0 {
		t.Fatalf("%s: what was encoded can't be decoded: %v, %d bytes left", c.Name(), err, len(rest))
	}
	if twice := c.Append(nil, again); !bytes.Equal(once, twice) {
		t.Fatalf("%s: %x became %x", c.Name(), once, twice)
	}
}

// TestRowType_IsFrozen pins the bytes that docs/formats/batches.md describes.
func TestRowType_IsFrozen(t *testing.T) {
	t.Parallel()
	type row struct {
		Word  string
		Count int32
		Flags [2]bool
		Data  []byte
	}
	typ := record.NewRowType(record.MustCoderOf[row]())
	if want := "rows[struct{Word string; Count int32; Flags [2]bool; Data bytes}]"; typ.Name() != want {
		t.Errorf("the type is called %s, want %s", typ.Name(), want)
	}
	b := typ.Get()
	b.Values = append(b.Values, row{"weir", -2, [2]bool{true, false}, []byte{9}}, row{Count: 1})
	b.Keys = append(b.Keys, 1, 0xff00000000000000)
	got, err := typ.AppendBatch(nil, b)
	if err != nil {
		t.Fatal(err)
	}
	frozen := "02" + "01" + "0100000000000000" + "00000000000000ff" +
		"0477656972" + "feffffff" + "0100" + "0109" +
		"00" + "01000000" + "0000" + "00"
	if h := hex.EncodeToString(got); h != frozen {
		t.Errorf("rows are\n%s, want\n%s", h, frozen)
	}
	back, err := typ.DecodeBatch(got)
	if err != nil {
		t.Fatal(err)
	}
	b.Values[1].Data = []byte{} // nothing is read as empty
	if d := cmp.Diff(b.Values, back.(*record.Rows[row]).Values); d != "" {
		t.Errorf("rows (-want +got):\n%s", d)
	}
}
