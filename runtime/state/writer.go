// SPDX-License-Identifier: Apache-2.0

package state

import (
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"runtime"
	"unsafe"
)

// yieldBytes is how much is encoded before others get a turn on the processor.
const yieldBytes = 512 << 10

// fileEncoder gathers the sections of one file after the other in a buffer and writes each when it is full.
type fileEncoder struct {
	store func(ctx context.Context, data []byte) (File, error)
	s     *Snapshot
	part  int
	// refer lists, of an index, the files that it refers to.
	refer []File

	buf      []byte
	crc      uint32 // of buf[:done]
	done     int
	yielded  int
	sections []Section
	files    []File
	states   []Descriptor
}

// write encodes all tables, key group by key group.
func (s *Snapshot) write(ctx context.Context, w FileWriter) ([]File, error) {
	e := s.newEncoder(w.WriteFile)
	groups, size := s.extent()
	if groups == 0 {
		return nil, nil
	}
	e.buf = s.m.takeBuffer(min(size, e.part+1<<18))
	room := cap(e.buf)
	defer func() {
		s.m.settle(e.buf)
		s.m.giveBuffer(e.buf, room)
	}()
	for g := range groups {
		for i := range s.tables {
			if t := &s.tables[i]; g < len(t.groups) && t.groups[g].count > 0 {
				if err := e.group(ctx, i, t, g); err != nil {
					return nil, fmt.Errorf("writing state %q: %w", t.desc.Name, err)
				}
			}
		}
		s.pass(g + 1)
	}
	if err := e.flush(ctx); err != nil {
		return nil, fmt.Errorf("writing keyed state: %w", err)
	}
	return e.files, nil
}

func (s *Snapshot) newEncoder(store func(context.Context, []byte) (File, error)) *fileEncoder {
	return &fileEncoder{store: store, s: s, part: s.m.opts.PartSize, states: s.descriptors()}
}

// descriptors returns those of the tables.
func (s *Snapshot) descriptors() []Descriptor {
	states := make([]Descriptor, len(s.tables))
	for i := range s.tables {
		states[i] = s.tables[i].desc
	}
	return states
}

// extent returns the number of key groups, 0 for an empty state, and about how many bytes the state takes in files.
func (s *Snapshot) extent() (groups, size int) {
	size = 1 << 12
	for i := range s.tables {
		t := &s.tables[i]
		groups = max(groups, len(t.groups))
		size += t.n*int(t.stride) + len(t.groups)*indexEntrySize
		for _, p := range t.log {
			if p != nil {
				size += len(p.buf)
			}
		}
	}
	return groups, size
}

// group encodes the entries of one state in one key group, as one section or more.
func (e *fileEncoder) group(ctx context.Context, state int, t *tableSnapshot, g int) error {
	sec := e.open(state, g)
	if t.special != nil && t.specialG == g {
		e.buf = t.appendSlot(e.buf, t.special)
		sec.Count++
	}
	for _, page := range t.pagesOf(g) {
		for at := uintptr(0); at <= uintptr(page.mask); {
			buf, n, next := t.appendPage(e.buf, page, at, e.part)
			e.buf, at = buf, next
			sec.Count += n
			if len(e.buf) < e.yielded+yieldBytes && len(e.buf) < e.part {
				continue
			}
			if err := e.pause(ctx); err != nil {
				return err
			}
			if len(e.buf) >= e.part {
				e.close(sec)
				if err := e.flush(ctx); err != nil {
					return err
				}
				sec = e.open(state, g)
			}
		}
	}
	e.close(sec)
	return nil
}

// pause lets processing go on and looks whether the snapshot is still wanted.
func (e *fileEncoder) pause(ctx context.Context) error {
	e.yielded = len(e.buf)
	runtime.Gosched()
	return ctx.Err()
}

// open starts a section, and a file if there is none.
func (e *fileEncoder) open(state, g int) Section {
	if len(e.buf) == 0 {
		e.buf = appendHeader(e.buf, e.s.m.opts.MaxParallelism, e.states, contentsOf{files: e.refer})
		e.sections, e.crc, e.done, e.yielded = e.sections[:0], 0, 0, 0
	}
	return Section{State: state, Group: e.s.m.opts.First + g, Offset: int64(len(e.buf))}
}

func (e *fileEncoder) close(s Section) {
	if s.Count == 0 {
		return
	}
	b := e.buf[s.Offset:]
	s.Length, s.Checksum = int64(len(b)), checksum(b)
	e.sections = append(e.sections, s)
	e.crc = crc32.Update(e.crc, castagnoli, e.buf[e.done:])
	e.done = len(e.buf)
}

// flush writes the file gathered so far, if it holds anything.
func (e *fileEncoder) flush(ctx context.Context) error {
	if len(e.buf) == 0 || len(e.sections) == 0 {
		e.buf = e.buf[:0]
		return ctx.Err()
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	e.buf = appendIndex(e.buf, e.sections, contentsOf{files: e.refer})
	err := e.storeFile(ctx, e.buf, e.sections, crc32.Update(e.crc, castagnoli, e.buf[e.done:]))
	e.buf = e.buf[:0]
	return err
}

// storeFile stores a whole file and notes it.
func (e *fileEncoder) storeFile(ctx context.Context, data []byte, sections []Section, crc uint32) error {
	f, err := e.store(ctx, data)
	if err != nil {
		return err
	}
	if f.CRC32C != 0 && f.CRC32C != crc {
		return fmt.Errorf("file %s was stored with checksum %08x instead of %08x", f.Path, f.CRC32C, crc)
	}
	f.Size, f.CRC32C, f.Index = int64(len(data)), crc, e.refer != nil
	f.FirstGroup, f.LastGroup = sections[0].Group, sections[len(sections)-1].Group
	e.files = append(e.files, f)
	return nil
}

// appendPage appends the entries of a page from slot i on, one at least, until there are limit bytes or more. It returns how many entries
// there were, and the slot to go on with: one behind the last when the page is done.
func (s *tableSnapshot) appendPage(b []byte, page snapPage, i uintptr, limit int) ([]byte, int, uintptr) {
	if s.stride == 16 && !s.logged {
		b, n := appendPairs(b, page)
		return b, n, uintptr(page.mask) + 1
	}
	n := 0
	for ; i <= uintptr(page.mask) && (n == 0 || len(b) < limit); i++ {
		p := unsafe.Add(page.ptr, i*s.stride)
		if *(*uint64)(p) == 0 {
			continue
		}
		if s.inlines && slotRef(p)&inlineRef != 0 {
			b = s.appendInline(b, p)
		} else {
			b = s.appendSlot(b, p)
		}
		n++
	}
	return b, n, i
}

// appendPairs is appendPage for integer keys with values of eight bytes.
func appendPairs(b []byte, page snapPage) ([]byte, int) {
	room := pairSize * (int(page.mask) + 1)
	b = grown(b, room)
	n, _, _ := wholePairs.pack(b[len(b):len(b)+room], page, nil)
	return b[:len(b)+n], n / pairSize
}

func grown(b []byte, n int) []byte {
	if cap(b)-len(b) >= n {
		return b
	}
	return append(make([]byte, 0, 2*cap(b)+n), b...)
}

// appendSlot appends the entry in slot p.
func (s *tableSnapshot) appendSlot(b []byte, p unsafe.Pointer) []byte {
	var inline [8]byte
	key, val := s.entry(inline[:0], p)
	if !s.ints {
		b = binary.AppendUvarint(b, uint64(len(key)))
	}
	b = append(b, key...)
	if s.desc.ValueSize == 0 {
		b = binary.AppendUvarint(b, uint64(len(val)))
	}
	return append(b, val...)
}

// appendInline appends the entry of slot p, which holds a short key and a value of fixed size.
func (s *tableSnapshot) appendInline(b []byte, p unsafe.Pointer) []byte {
	ref := slotRef(p)
	b = grown(b, 9+s.desc.ValueSize)
	n := len(b)
	k := int(ref >> 56 & 7)
	b = b[:n+9+s.desc.ValueSize]
	b[n] = byte(k)
	binary.LittleEndian.PutUint64(b[n+1:], ref) // what is no key is written over
	v := b[n+1+k : n+1+k+s.desc.ValueSize]
	if len(v) == 8 {
		binary.LittleEndian.PutUint64(v, *(*uint64)(unsafe.Add(p, 16)))
	} else {
		copy(v, unsafe.Slice((*byte)(unsafe.Add(p, 16)), len(v)))
	}
	return b[:n+1+k+len(v)]
}

// takeBuffer returns an empty buffer with room for n bytes, the one of the last snapshot if nobody uses it.
func (m *Memory) takeBuffer(n int) []byte {
	m.encodeMu.Lock()
	b := m.encode
	m.encode = nil
	m.encodeMu.Unlock()
	m.beside(-int64(cap(b)))
	if cap(b) < n {
		b = newBuffer(n + n/8) // state that grows would need another one each time
	}
	m.beside(int64(cap(b)))
	return b[:0]
}

// giveBuffer takes a buffer back. It may have grown since it was taken; room is what it had.
func (m *Memory) giveBuffer(b []byte, room int) {
	m.beside(-int64(room))
	m.reuseBuffer(b)
}

// reuseBuffer keeps b for the next snapshot.
func (m *Memory) reuseBuffer(b []byte) {
	m.encodeMu.Lock()
	defer m.encodeMu.Unlock()
	if cap(b) > 64<<20 || m.closed {
		return
	}
	m.keepBuffer(b[:0])
}

// keepBuffer keeps b for the next snapshot. encodeMu is held.
func (m *Memory) keepBuffer(b []byte) {
	m.beside(int64(cap(b) - cap(m.encode)))
	m.encode = b
}

// dropBuffer gives up the buffer that is kept.
func (m *Memory) dropBuffer() {
	m.encodeMu.Lock()
	defer m.encodeMu.Unlock()
	m.keepBuffer(nil)
}

func (m *Memory) closeBuffer() {
	m.encodeMu.Lock()
	defer m.encodeMu.Unlock()
	m.closed = true
	m.keepBuffer(nil)
}
