// SPDX-License-Identifier: Apache-2.0

package record_test

import (
	"bytes"
	"testing"

	"github.com/weir-stream/weir/runtime/record"
)

// FuzzCoder decodes single values: what is understood comes back the same after it is encoded, and nothing refers to the bytes it came from.
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
	v, rest, err := c.Decode(bytes.Clone(src))
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
