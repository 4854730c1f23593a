// SPDX-License-Identifier: Apache-2.0

package state

import (
	"encoding/binary"
	"hash/crc32"
	"math/bits"
)

// The layout of a state file; docs/formats/state-file.md describes it byte by byte.
const (
	fileMagic    = "WEIRSTAT"
	trailerMagic = "TATSRIEW"
	// fileVersion is that of files with entries, indexVersion that of files that refer to sections of others, packedVersion that of files with packed entries.
	fileVersion   = 1
	indexVersion  = 2
	packedVersion = 3
	// fixedHeader is the part of the header before the states.
	fixedHeader = 24
	// minStateHeader is the size of a state in the header, without its strings.
	minStateHeader = 20
	indexEntrySize = 32
	trailerSize    = 32
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// turn is by how many bits the checksums in a file are turned.
const turn = 15

// checksum is what stands in a file for a part of it: CRC32C turned by 15 bits. Unturned, the checksum behind
// a part would undo the part's share in the checksum of the whole file, which then said nothing about it.
func checksum(b []byte) uint32 { return bits.RotateLeft32(crc32.Checksum(b, castagnoli), turn) }

// Section is a run of entries of one state and one key group in a file.
type Section struct {
	// State is the index of the state in the header of the file.
	State int
	// Group is the key group.
	Group int
	// Offset and Length place the section in the file, in bytes.
	Offset, Length int64
	// Count is the number of entries.
	Count int
	// Checksum of the bytes of the section.
	Checksum uint32
}

// contentsOf says what a file is besides its states.
type contentsOf struct {
	// files is what an index refers to, nil for a file with entries.
	files []File
	// packed has the widths of each state, nil if none is packed.
	packed []widths
}

// version is that of the file.
func (c contentsOf) version() uint32 {
	switch {
	case c.files != nil:
		return indexVersion
	case c.packed != nil:
		return packedVersion
	default:
		return fileVersion
	}
}

// widths are those of state i.
func (c contentsOf) widths(i int) widths {
	if c.packed == nil {
		return widths{}
	}
	return c.packed[i]
}

// appendHeader appends the header of a file.
func appendHeader(b []byte, maxParallelism int, states []Descriptor, c contentsOf) []byte {
	start := len(b)
	le := binary.LittleEndian
	b = append(b, fileMagic...)
	b = le.AppendUint32(b, c.version())
	b = le.AppendUint32(b, 0) // length, below
	b = le.AppendUint32(b, uint32(maxParallelism))
	b = le.AppendUint32(b, uint32(len(states)))
	for i, d := range states {
		w := c.widths(i)
		b = append(b, byte(d.Keys), byte(d.Kind), w.key, w.val)
		b = le.AppendUint32(b, uint32(d.ValueSize))
		for _, s := range []string{d.Name, d.KeyType, d.ValueType} {
			b = le.AppendUint32(b, uint32(len(s)))
			b = append(b, s...)
		}
	}
	if c.files != nil {
		b = le.AppendUint32(b, uint32(len(c.files)))
	}
	for _, f := range c.files {
		b = le.AppendUint32(b, uint32(len(f.Path)))
		b = append(b, f.Path...)
		b = le.AppendUint64(b, uint64(f.Size))
		b = le.AppendUint32(b, f.CRC32C)
	}
	le.PutUint32(b[start+12:], uint32(len(b)-start+4))
	return le.AppendUint32(b, checksum(b[start:]))
}

// appendIndex appends the list of the sections of a file and its trailer. The file starts at b[0].
func appendIndex(b []byte, sections []Section, c contentsOf) []byte {
	le := binary.LittleEndian
	start := len(b)
	for _, s := range sections {
		b = le.AppendUint32(b, uint32(s.State))
		b = le.AppendUint32(b, uint32(s.Group))
		b = le.AppendUint64(b, uint64(s.Offset))
		b = le.AppendUint64(b, uint64(s.Length))
		b = le.AppendUint32(b, uint32(s.Count))
		b = le.AppendUint32(b, s.Checksum)
	}
	index := b[start:]
	trailer := len(b)
	b = le.AppendUint64(b, uint64(start))
	b = le.AppendUint32(b, uint32(len(sections)))
	b = le.AppendUint32(b, checksum(index))
	b = le.AppendUint32(b, c.version())
	b = le.AppendUint32(b, checksum(b[trailer:]))
	return append(b, trailerMagic...)
}
