// SPDX-License-Identifier: Apache-2.0

package columns

import (
	"bytes"
	"encoding/hex"
	"testing"

	"github.com/weir-stream/weir/internal/fuzztest"
	"github.com/weir-stream/weir/runtime/record"
)

// FuzzSchema_DecodeBatch decodes batches of all kinds of columns: no panic, memory in proportion to the input, and what is understood comes back the same.
func FuzzSchema_DecodeBatch(f *testing.F) {
	s := NewSchema(Field{Name: "i", Kind: Int}, Field{Name: "f", Kind: Float}, Field{Name: "b", Kind: Bool}, Field{Name: "t", Kind: String})
	b := s.NewBatch()
	for i := range 3 {
		b.Columns[0].Ints = append(b.Columns[0].Ints, int64(-i))
		b.Columns[1].Floats = append(b.Columns[1].Floats, float64(i)/2)
		b.Columns[2].Bools = append(b.Columns[2].Bools, i == 1)
		b.Columns[3].AppendText(bytes.Repeat([]byte("x"), i))
	}
	b.SetLen(3)
	enc, err := s.AppendBatch(nil, b)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(enc)
	f.Add([]byte{0xff, 0xff, 0xff, 0x1f, 1})
	f.Add([]byte{2, 0, 1})
	bound := fuzztest.Bound{Fixed: 1 << 20, PerByte: 16}
	f.Fuzz(func(t *testing.T, src []byte) {
		var got record.Batch
		var err error
		bound.Check(t, len(src), func() { got, err = s.DecodeBatch(src) })
		if err != nil {
			return
		}
		once, err := s.AppendBatch(nil, got)
		if err != nil {
			t.Fatal(err)
		}
		got.Release()
		again, err := s.DecodeBatch(once)
		if err != nil {
			t.Fatalf("what was encoded can't be decoded: %v", err)
		}
		twice, err := s.AppendBatch(nil, again)
		if err != nil {
			t.Fatal(err)
		}
		again.Release()
		if !bytes.Equal(once, twice) {
			t.Errorf("%x became %x", once, twice)
		}
	})
}

// TestSchema_IsFrozen pins the bytes that docs/formats/batches.md describes.
func TestSchema_IsFrozen(t *testing.T) {
	t.Parallel()
	s := NewSchema(Field{Name: "i", Kind: Int}, Field{Name: "f", Kind: Float}, Field{Name: "b", Kind: Bool}, Field{Name: "t", Kind: String})
	b := s.NewBatch()
	b.Columns[0].Ints = append(b.Columns[0].Ints, -2, 1)
	b.Columns[1].Floats = append(b.Columns[1].Floats, 0.5, -1)
	b.Columns[2].Bools = append(b.Columns[2].Bools, true, false)
	b.Columns[3].AppendText([]byte("weir"))
	b.Columns[3].AppendText(nil)
	b.SetLen(2)
	got, err := s.AppendBatch(nil, b)
	if err != nil {
		t.Fatal(err)
	}
	frozen := "02" + "00" + "feffffffffffffff" + "0100000000000000" + "000000000000e03f" + "000000000000f0bf" + "0100" + "04000000" + "00000000" + "77656972"
	if h := hex.EncodeToString(got); h != frozen {
		t.Errorf("rows are\n%s, want\n%s", h, frozen)
	}
}
