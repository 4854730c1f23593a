// SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/weir-stream/weir/runtime/state"
)

// channelMagic begins every section of channel state; its last byte is the version of the format.
var channelMagic = []byte("WEIRFLO\x01")

// AppendChannelHeader appends what every section of channel state begins with. After it comes each batch, its length first (4 bytes,
// little endian).
func AppendChannelHeader(dst []byte) []byte { return append(dst, channelMagic...) }

// DecodeChannel checks one section of channel state, given in full, and calls f with the encoding of each batch in it. Damage is a
// [state.CorruptError] that names file and offset.
func DecodeChannel(s ChannelState, b []byte, f func(batch []byte) error) error {
	bad := func(at int, format string, args ...any) error {
		return &state.CorruptError{Path: s.Path, Section: "channel from " + s.From, Offset: s.Offset + int64(at), Reason: fmt.Sprintf(format, args...)}
	}
	if int64(len(b)) != s.Length {
		return bad(0, "it has %d bytes, the manifest says %d", len(b), s.Length)
	}
	if sum := Checksum(b); sum != s.CRC32C {
		return bad(0, "its checksum is %08x, the manifest says %08x", sum, s.CRC32C)
	}
	if !bytes.HasPrefix(b, channelMagic) {
		return bad(0, "it doesn't begin like channel state of a version that is known here")
	}
	for at := len(channelMagic); at < len(b); {
		if len(b)-at < 4 {
			return bad(at, "it ends within a length")
		}
		n := int64(binary.LittleEndian.Uint32(b[at:]))
		if n > int64(len(b)-at-4) {
			return bad(at, "a batch of %d bytes doesn't fit", n)
		}
		if err := f(b[at+4 : at+4+int(n)]); err != nil {
			return bad(at+4, "%v", err)
		}
		at += 4 + int(n)
	}
	return nil
}
