// SPDX-License-Identifier: Apache-2.0

package state

import (
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"
)

// tailBytes is how much of a file is read at first, from its end: index and trailer of most files, and all of small ones.
const tailBytes = 256 << 10

// FileInfo is what header and index of a state file say.
type FileInfo struct {
	// MaxParallelism is the number of key groups of the job.
	MaxParallelism int
	// States are the states in the file's order; sections refer to them by index.
	States []Descriptor
	// Sections in order of offset.
	Sections []Section
	// Index says that the sections hold references to sections of Files, which have path, size and checksum; see [ReadIndex].
	Index bool
	Files []File
	// packed has the widths of each state in a file with packed entries, nil for others.
	packed []widths
	// version is that of the file.
	version uint32
	// headerSize and indexOffset bound the sections.
	headerSize, indexOffset int64
}

// widths are those of the entries of a section.
func (i *FileInfo) widths(s Section) widths {
	if i.packed == nil {
		return widths{}
	}
	return i.packed[s.State]
}

// name describes section s for errors.
func (i *FileInfo) name(s Section) string {
	return fmt.Sprintf("state %q key group %d", i.States[s.State].Name, s.Group)
}

// fileReader reads parts of one file, and remembers its end.
type fileReader struct {
	r    FileReader
	f    File
	tail []byte
	// head is the header.
	head    []byte
	tailOff int64
}

func (r *fileReader) corrupt(section string, off int64, format string, args ...any) error {
	return &CorruptError{Path: r.f.Path, Section: section, Offset: off, Reason: fmt.Sprintf(format, args...)}
}

func (r *fileReader) read(ctx context.Context, section string, off, n int64) ([]byte, error) {
	if r.tail != nil && off >= r.tailOff {
		return r.tail[off-r.tailOff : off-r.tailOff+n], nil
	}
	b, err := r.r.ReadFile(ctx, r.f, off, n)
	return b, r.readError(err, section, off, n, b)
}

// readError is the error of a read of n bytes.
func (r *fileReader) readError(err error, section string, off, n int64, b []byte) error {
	if err != nil {
		return fmt.Errorf("reading %s of state file %s: %w", section, r.f.Path, err)
	}
	if int64(len(b)) != n {
		return r.corrupt(section, off, "%d bytes are there instead of %d", len(b), n)
	}
	return nil
}

// chunk is what a read gives. What isn't owned belongs to somebody else, too.
type chunk struct {
	b     []byte
	owned bool
}

// readChunk is read with memory of chunks that were given back.
func (r *fileReader) readChunk(ctx context.Context, section string, off, n int64, old spares) (chunk, error) {
	into, ok := r.r.(BufferReader)
	if !ok || r.tail != nil && off >= r.tailOff {
		b, err := r.read(ctx, section, off, n)
		return chunk{b: b}, err
	}
	b, err := into.ReadFileInto(ctx, r.f, off, n, old.take(n))
	return chunk{b, true}, r.readError(err, section, off, n, b)
}

// spares are buffers that nobody uses.
type spares chan []byte

// take returns one with room for n bytes, or nil.
func (s spares) take(n int64) []byte {
	select {
	case b := <-s:
		if int64(cap(b)) >= n {
			return b
		}
	default:
	}
	return nil
}

// give keeps a chunk for a later read.
func (s spares) give(c chunk) {
	if !c.owned {
		return
	}
	select {
	case s <- c.b:
	default:
	}
}

// ReadFileInfo reads and checks header and index of a state file.
func ReadFileInfo(ctx context.Context, f File, r FileReader) (*FileInfo, error) {
	info, _, err := openFile(ctx, f, r)
	return info, err
}

func openFile(ctx context.Context, f File, src FileReader) (*FileInfo, *fileReader, error) {
	r := &fileReader{r: src, f: f}
	if f.Size < fixedHeader+4+trailerSize {
		return nil, nil, r.corrupt("file", 0, "%d bytes are too few for a state file", f.Size)
	}
	n := min(f.Size, tailBytes)
	tail, err := r.read(ctx, "trailer", f.Size-n, n)
	if err != nil {
		return nil, nil, err
	}
	r.tail, r.tailOff = tail, f.Size-n
	info := &FileInfo{}
	indexSize, indexCRC, err := r.trailer(info)
	if err != nil {
		return nil, nil, err
	}
	if err := r.header(ctx, info); err != nil {
		return nil, nil, r.headerEnds(ctx, err, info.indexOffset, indexCRC)
	}
	if err := r.index(ctx, info, indexSize, indexCRC); err != nil {
		return nil, nil, endsBefore(err, f.Size-trailerSize)
	}
	return info, r, r.whole(ctx, info)
}

func (r *fileReader) trailer(info *FileInfo) (indexSize int64, crc uint32, err error) {
	off := r.f.Size - trailerSize
	b := r.tail[off-r.tailOff:]
	le := binary.LittleEndian
	switch {
	case string(b[24:32]) != trailerMagic:
		return 0, 0, r.corrupt("trailer", off, "it does not end in %q; the file is cut off or is no state file", trailerMagic)
	case checksum(b[:20]) != le.Uint32(b[20:]):
		return 0, 0, r.corrupt("trailer", off, "checksum does not fit")
	case le.Uint32(b[16:]) < fileVersion || le.Uint32(b[16:]) > packedVersion:
		return 0, 0, &FormatError{What: "state file", Path: r.f.Path, Version: int64(le.Uint32(b[16:])), Known: packedVersion}
	}
	info.version = le.Uint32(b[16:])
	info.Index = info.version == indexVersion
	if info.Index != r.f.Index {
		return 0, 0, r.corrupt("trailer", off, "the file is an index or not, contrary to what the manifest says")
	}
	info.indexOffset = int64(le.Uint64(b))
	indexSize = int64(le.Uint32(b[8:])) * indexEntrySize
	if info.indexOffset < fixedHeader+4 || info.indexOffset != off-indexSize {
		return 0, 0, r.corrupt("trailer", off, "index of %d bytes cannot start at %d", indexSize, info.indexOffset)
	}
	return indexSize, le.Uint32(b[12:]), nil
}

func (r *fileReader) header(ctx context.Context, info *FileInfo) error {
	have := min(info.indexOffset, 4<<10)
	b, err := r.read(ctx, "header", 0, have)
	if err != nil {
		return err
	}
	le := binary.LittleEndian
	if string(b[:8]) != fileMagic {
		return r.corrupt("header", 0, "it does not start with %q; this is no state file", fileMagic)
	}
	size := int64(le.Uint32(b[12:]))
	if size < fixedHeader+4 || size > info.indexOffset {
		return r.corrupt("header", 12, "header cannot have %d bytes", size)
	}
	if size > have {
		if b, err = r.read(ctx, "header", 0, size); err != nil {
			return err
		}
	}
	b = b[:size]
	if checksum(b[:size-4]) != le.Uint32(b[size-4:]) {
		return r.corrupt("header", 0, "checksum does not fit")
	}
	if v := le.Uint32(b[8:]); v != info.version {
		return r.corrupt("header", 8, "header and trailer disagree about the version")
	}
	info.headerSize, r.head = size, b
	info.MaxParallelism = int(le.Uint32(b[16:]))
	rest, err := r.states(info, b[fixedHeader:size-4], int(le.Uint32(b[20:])))
	if err != nil {
		return err
	}
	if info.Index {
		if rest, err = r.files(info, rest); err != nil {
			return err
		}
	}
	if len(rest) > 0 {
		return r.corrupt("header", 0, "%d bytes follow the last state", len(rest))
	}
	return nil
}

// states decodes the descriptors in the header and returns what follows them.
func (r *fileReader) states(info *FileInfo, b []byte, n int) ([]byte, error) {
	le := binary.LittleEndian
	for i := range n {
		if len(b) < minStateHeader {
			return nil, r.corrupt("header", 0, "state %d of %d is cut off", i, n)
		}
		d := Descriptor{Keys: KeyKind(b[0]), Kind: Kind(b[1]), ValueSize: int(le.Uint32(b[4:]))}
		w := widths{b[2], b[3]}
		b = b[8:]
		for _, s := range []*string{&d.Name, &d.KeyType, &d.ValueType} {
			if len(b) < 4 || int64(len(b)) < 4+int64(le.Uint32(b)) {
				return nil, r.corrupt("header", 0, "state %d of %d is cut off", i, n)
			}
			k := 4 + int(le.Uint32(b))
			*s, b = string(b[4:k]), b[k:]
		}
		if err := d.validate(); err != nil {
			return nil, r.corrupt("header", 0, "%v", err)
		}
		if w.packed() && info.version != packedVersion || !w.valid(d) {
			return nil, r.corrupt("header", 0, "entries of state %d can't be packed to %d and %d bytes", i, w.key, w.val)
		}
		info.States = append(info.States, d)
		if info.version == packedVersion {
			info.packed = append(info.packed, w)
		}
	}
	return b, nil
}

// index decodes the sections. They lie without a gap between header and index.
func (r *fileReader) index(ctx context.Context, info *FileInfo, size int64, crc uint32) error {
	b, err := r.read(ctx, "index", info.indexOffset, size)
	if err != nil {
		return err
	}
	if checksum(b) != crc {
		return r.corrupt("index", info.indexOffset, "checksum does not fit")
	}
	le := binary.LittleEndian
	at := info.headerSize
	info.Sections = make([]Section, 0, len(b)/indexEntrySize)
	for ; len(b) > 0; b = b[indexEntrySize:] {
		s := Section{
			State: int(le.Uint32(b)), Group: int(le.Uint32(b[4:])),
			Offset: int64(le.Uint64(b[8:])), Length: int64(le.Uint64(b[16:])),
			Count: int(le.Uint32(b[24:])), Checksum: le.Uint32(b[28:]),
		}
		if s.State >= len(info.States) || s.Group >= info.MaxParallelism || int64(s.Count) > s.Length ||
			s.Offset != at || s.Length < 0 || s.Length > info.indexOffset-at {
			return r.corrupt("index", info.indexOffset, "section %d is impossible", len(info.Sections))
		}
		at += s.Length
		info.Sections = append(info.Sections, s)
	}
	if at != info.indexOffset {
		return r.corrupt("index", info.indexOffset, "bytes %d to %d belong to no section", at, info.indexOffset)
	}
	return nil
}

// VerifyFile reads a state file in full and checks every byte of it, and every entry.
func VerifyFile(ctx context.Context, f File, src FileReader) (*FileInfo, error) {
	info, r, err := openFile(ctx, f, src)
	if err != nil {
		return nil, err
	}
	for _, s := range info.Sections {
		b, err := r.section(ctx, info, s)
		if err != nil {
			return nil, err
		}
		if info.Index {
			if _, err := r.references(nil, info, s, b); err != nil {
				return nil, err
			}
			continue
		}
		d := info.States[s.State]
		if err := r.entries(info, s, b, func(key, _ []byte) error {
			return r.checkGroup(info, s, d, key)
		}); err != nil {
			return nil, err
		}
	}
	crc := uint32(0)
	for off := int64(0); off < f.Size; {
		n := min(f.Size-off, 4<<20)
		b, err := src.ReadFile(ctx, f, off, n)
		if err != nil {
			return nil, fmt.Errorf("reading state file %s: %w", f.Path, err)
		}
		crc = crc32.Update(crc, castagnoli, b)
		off += n
	}
	if crc != f.CRC32C {
		return nil, r.corrupt("file", 0, "checksum is %08x, the manifest says %08x", crc, f.CRC32C)
	}
	return info, nil
}

// ReadEntries calls f for each entry of a state file, in the order of the file, and returns its first error. What it reads it checks, as a restore does; an index file has
// no entries. The slices are valid only during the call.
func ReadEntries(ctx context.Context, file File, src FileReader, f func(d Descriptor, key, val []byte) error) error {
	info, r, err := openFile(ctx, file, src)
	if err != nil || info.Index {
		return err
	}
	for _, s := range info.Sections {
		b, err := r.section(ctx, info, s)
		if err != nil {
			return err
		}
		d := info.States[s.State]
		if err := r.entries(info, s, b, func(key, val []byte) error { return f(d, key, val) }); err != nil {
			return err
		}
	}
	return nil
}

// section reads one section and checks it against its checksum.
func (r *fileReader) section(ctx context.Context, info *FileInfo, s Section) ([]byte, error) {
	b, err := r.read(ctx, info.name(s), s.Offset, s.Length)
	if err != nil {
		return nil, err
	}
	if checksum(b) != s.Checksum {
		return nil, r.corrupt(info.name(s), s.Offset, "checksum does not fit")
	}
	return b, nil
}

// entries calls f for each entry of a section.
func (r *fileReader) entries(info *FileInfo, s Section, b []byte, f func(key, val []byte) error) error {
	d := info.States[s.State]
	size := uint64(len(b))
	if w := info.widths(s); w.packed() {
		return r.packedEntries(info, s, b, f)
	}
	for n := range s.Count {
		at := s.Offset + s.Length - int64(len(b))
		key, rest, ok := field(b, d.Keys != Int64Keys, 8)
		val, rest, ok2 := field(rest, d.ValueSize == 0, d.ValueSize)
		if !ok || !ok2 {
			return r.corrupt(info.name(s), at, "entry %d of %d is cut off in a section of %d bytes", n, s.Count, size)
		}
		if err := f(key, val); err != nil {
			return err
		}
		b = rest
	}
	if len(b) > 0 {
		return r.corrupt(info.name(s), s.Offset+s.Length-int64(len(b)), "%d bytes follow the last entry", len(b))
	}
	return nil
}

// packedEntries is entries for packed ones.
func (r *fileReader) packedEntries(info *FileInfo, s Section, b []byte, f func(key, val []byte) error) error {
	w := info.widths(s)
	if entry := w.entry(0); len(b) != s.Count*entry {
		return r.corrupt(info.name(s), s.Offset, "%d entries of %d bytes cannot take %d bytes", s.Count, entry, len(b))
	}
	for b = w.appendUnpacked(nil, b); len(b) > 0; b = b[pairSize:] {
		if err := f(b[:8:8], b[8:pairSize:pairSize]); err != nil {
			return err
		}
	}
	return nil
}

// field cuts a key or value from b: of n bytes, or with its length in front.
func field(b []byte, counted bool, n int) (f, rest []byte, ok bool) {
	if counted {
		v, k := binary.Uvarint(b)
		if k <= 0 || v > uint64(len(b)-k) {
			return nil, nil, false
		}
		b, n = b[k:], int(v)
	}
	if len(b) < n {
		return nil, nil, false
	}
	return b[:n:n], b[n:], true
}

// checkGroup checks that a key belongs where it was found.
func (r *fileReader) checkGroup(info *FileInfo, s Section, d Descriptor, key []byte) error {
	if d.Keys == PairKeys {
		owner, ok := pairOwner(key)
		if !ok {
			return r.corrupt(info.name(s), s.Offset, "key %s does not begin with another key", showKey(d, key))
		}
		return r.checkGroup(info, s, Descriptor{Keys: BytesKeys}, owner)
	}
	if g := int(HashBytes(key) % uint64(info.MaxParallelism)); g != s.Group {
		return r.corrupt(info.name(s), s.Offset, "key %s belongs to key group %d", showKey(d, key), g)
	}
	return nil
}

func showKey(d Descriptor, key []byte) string {
	if d.Keys == Int64Keys {
		return fmt.Sprint(int64(binary.LittleEndian.Uint64(key)))
	}
	return fmt.Sprintf("%.64q", key)
}
