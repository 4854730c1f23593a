// SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/weir-stream/weir/runtime/state"
)

// channelVersion is the version of the format, which follows the name in each section.
const channelVersion = 1

var (
	channelName = []byte("WEIRFLO")
	// channelMagic begins every section of channel state.
	channelMagic = append(bytes.Clone(channelName), channelVersion)
)

// AppendChannelHeader appends what every section of channel state begins with. After it comes each batch, its length first (4 bytes,
// little endian).
func AppendChannelHeader(dst []byte) []byte { return append(dst, channelMagic...) }

// DecodeChannel checks one section of channel state, given in full, and calls f with the encoding of each batch in it. Damage is a
// [state.CorruptError] that names file and offset; a newer format isn't damage.
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
		if len(b) >= len(channelMagic) && bytes.HasPrefix(b, channelName) && b[len(channelName)] > channelVersion {
			return &state.FormatError{What: "channel state in", Path: s.Path, Version: int64(b[len(channelName)]), Known: channelVersion}
		}
		return bad(0, "it doesn't begin like channel state")
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

// ChannelFile is a file of channel state.
type ChannelFile struct {
	// Path is relative to the directory of the manifest. Size in bytes.
	Path string
	Size int64
	// Operator and Subtask say whose it is: of several operators of a chain the first that is listed.
	Operator string
	Subtask  int
	// Sections are its parts, in order of offset. They fill the file.
	Sections []ChannelState
}

// ChannelFiles lists all files of channel state, in order of the first operator and subtask that refers to them.
func (m *Manifest) ChannelFiles() []ChannelFile {
	var out []ChannelFile
	at := map[string]int{}
	for i := range m.Operators {
		o := &m.Operators[i]
		for j := range o.Subtasks {
			for _, c := range o.Subtasks[j].Channels {
				k, ok := at[c.Path]
				if !ok {
					k = len(out)
					at[c.Path] = k
					out = append(out, ChannelFile{Path: c.Path, Operator: o.Name, Subtask: o.Subtasks[j].Index})
				}
				f := &out[k]
				f.Sections = append(f.Sections, c)
				f.Size = max(f.Size, c.Offset+c.Length)
			}
		}
	}
	for i := range out {
		slices.SortFunc(out[i].Sections, func(a, b ChannelState) int { return cmp.Compare(a.Offset, b.Offset) })
	}
	return out
}

// validate checks that the sections fill the file without gap or overlap, so that every byte is under a checksum.
func (f *ChannelFile) validate() error {
	end := int64(0)
	for _, s := range f.Sections {
		if s.Offset != end {
			return fmt.Errorf("file %q has channel state at %d after %d: sections must follow each other", f.Path, s.Offset, end)
		}
		end = s.Offset + s.Length
	}
	return nil
}

// maxChannelFile bounds offsets in a file of channel state.
const maxChannelFile = 1 << 40

func (c *ChannelState) validate() error {
	switch {
	case c.From == "" || len(c.From) > MaxNameLength:
		return fmt.Errorf("the producer of a channel has a name of %d bytes and must have 1 to %d", len(c.From), MaxNameLength)
	case c.Type == "" || len(c.Type) > maxTypeLength:
		return fmt.Errorf("the type of a channel from %q has a name of %d bytes and must have 1 to %d", c.From, len(c.Type), maxTypeLength)
	case c.Input < 0 || c.FromSubtask < 0 || c.FromSubtask >= MaxKeyGroups || c.Rows < 1:
		return fmt.Errorf("channel state from %q, subtask %d, input %d, %d rows is impossible", c.From, c.FromSubtask, c.Input, c.Rows)
	case c.Offset < 0 || c.Length < int64(len(channelMagic)) || c.Offset > maxChannelFile || c.Length > maxChannelFile:
		return fmt.Errorf("channel state from %q has %d bytes at %d", c.From, c.Length, c.Offset)
	}
	return validFile(state.File{Path: c.Path})
}

// maxTypeLength bounds the name of a type of rows, which lists the fields of a struct.
const maxTypeLength = 64 << 10
