// SPDX-License-Identifier: Apache-2.0

package state

import (
	"context"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"math/bits"
	"sync"
)

// powers returns x to the power of 8·2^k for each k, modulo the polynomial of CRC32C, bits reflected like a checksum: what a
// checksum is multiplied with when 2^k bytes of zero follow.
var powers = sync.OnceValue(func() *[63]uint32 {
	var p [63]uint32
	x := uint32(1) << 30 // x itself: the highest bit stands for 1
	for range 3 {
		x = times(x, x)
	}
	for k := range p {
		p[k] = x
		x = times(x, x)
	}
	return &p
})

// times multiplies two polynomials modulo that of CRC32C.
func times(a, b uint32) uint32 {
	product := uint32(0)
	for ; a != 0; a <<= 1 {
		if a>>31 != 0 {
			product ^= b
		}
		b = b>>1 ^ crc32.Castagnoli&-(b&1)
	}
	return product
}

// follow returns the CRC32C of two runs of bytes, one behind the other, of the checksums of both and the length of the second.
func follow(first, second uint32, length int64) uint32 {
	p := powers()
	for n := uint64(length); n != 0; n &= n - 1 {
		first = times(first, p[bits.TrailingZeros64(n)])
	}
	return first ^ second
}

// sectionSum is the CRC32C of a section; in a file it stands turned, see checksum.
func sectionSum(s Section) uint32 { return bits.RotateLeft32(s.Checksum, -turn) }

// whole checks that the file is the one that the manifest lists, and not another one that is whole as well. It takes header, index and trailer, which are
// in memory, and for the sections the checksums of the index, against which they are checked when they are read.
func (r *fileReader) whole(ctx context.Context, info *FileInfo) error {
	end, err := r.read(ctx, "index", info.indexOffset, r.f.Size-info.indexOffset)
	if err != nil {
		return err
	}
	sum := crc32.Checksum(r.head, castagnoli)
	for _, s := range info.Sections {
		sum = follow(sum, sectionSum(s), s.Length)
	}
	sum = follow(sum, crc32.Checksum(end, castagnoli), int64(len(end)))
	if sum != r.f.CRC32C {
		return r.corrupt("file", 0, "checksum is %08x, the manifest says %08x: it is another file", sum, r.f.CRC32C)
	}
	return nil
}

// headerEnds adds to an error of the header where that ends, which the index says if it is whole: where the first section begins.
func (r *fileReader) headerEnds(ctx context.Context, err error, index int64, indexCRC uint32) error {
	c, ok := errors.AsType[*CorruptError](err)
	if !ok {
		return err
	}
	c.Offset, c.End = 0, index
	b, rerr := r.read(ctx, "index", index, r.f.Size-trailerSize-index)
	if rerr == nil && checksum(b) == indexCRC && len(b) >= indexEntrySize {
		c.End = int64(binary.LittleEndian.Uint64(b[8:]))
	}
	return err
}

// endsBefore adds to an error of a part where that ends.
func endsBefore(err error, end int64) error {
	if c, ok := errors.AsType[*CorruptError](err); ok && c.End == 0 {
		c.End = end
	}
	return err
}
