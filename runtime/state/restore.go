// SPDX-License-Identifier: Apache-2.0

package state

import (
	"context"
	"encoding/binary"
	"fmt"
	"unsafe"
)

// readRun is how many bytes of neighbouring sections are read at once.
const readRun = 8 << 20

// Restore reads the entries of this backend's key groups from the files of a snapshot. The files may be those of several
// old subtasks; sections of other key groups are not read, nor those of shared files that no index refers to. Every byte that is used is
// checked. It is called before processing starts; after an error the backend is of no use.
func (m *Memory) Restore(ctx context.Context, files []File, r FileReader) error {
	listed := map[string]File{}
	for _, f := range files {
		if f.Shared {
			listed[f.Path] = f
		}
	}
	for _, f := range files {
		var err error
		switch {
		case f.LastGroup < m.opts.First || f.FirstGroup > m.opts.Last || f.Shared:
		case f.Index:
			err = m.restoreIndex(ctx, f, listed, r)
		default:
			err = m.restoreFile(ctx, f, r)
		}
		if err != nil {
			return fmt.Errorf("restoring keyed state: %w", err)
		}
	}
	return nil
}

// sameGroups checks that a file was written with the job's number of key groups.
func (m *Memory) sameGroups(f File, info *FileInfo) error {
	if info.MaxParallelism == m.opts.MaxParallelism {
		return nil
	}
	return fmt.Errorf("state file %s was written with max parallelism %d, the job has %d; it can't be changed for existing state",
		f.Path, info.MaxParallelism, m.opts.MaxParallelism)
}

func (m *Memory) restoreFile(ctx context.Context, f File, src FileReader) error {
	info, r, err := openFile(ctx, f, src)
	if err != nil {
		return err
	}
	if err := m.sameGroups(f, info); err != nil {
		return err
	}
	tables, err := m.restoredTables(info)
	if err != nil {
		return err
	}
	var mine []Section
	for _, s := range info.Sections {
		if s.Group >= m.opts.First && s.Group <= m.opts.Last {
			mine = append(mine, s)
		}
	}
	for len(mine) > 0 {
		n := runOf(mine, 0)
		if err := m.restoreRun(ctx, r, info, mine[:n], tables); err != nil {
			return err
		}
		mine = mine[n:]
	}
	return nil
}

// restoredTables returns the tables for the states of a file, registering those that are new.
func (m *Memory) restoredTables(info *FileInfo) ([]*Table, error) {
	tables := make([]*Table, len(info.States))
	for i, d := range info.States {
		t := m.table(d.Name)
		if t == nil {
			t = m.addTable(d)
		} else if err := t.desc.compare(d); err != nil {
			return nil, err
		}
		tables[i] = t
	}
	return tables, nil
}

// runOf returns how many of the sections lie side by side, but for gaps of the given size, and are read together.
func runOf(s []Section, gap int64) int {
	n := 1
	for n < len(s) {
		end := s[n-1].Offset + s[n-1].Length
		if s[n].Offset < end || s[n].Offset > end+gap || s[n].Offset+s[n].Length > s[0].Offset+readRun {
			break
		}
		n++
	}
	return n
}

func (m *Memory) restoreRun(ctx context.Context, r *fileReader, info *FileInfo, run []Section, tables []*Table) error {
	start, last := run[0].Offset, run[len(run)-1]
	b, err := r.read(ctx, info.name(run[0]), start, last.Offset+last.Length-start)
	if err != nil {
		return err
	}
	for _, s := range run {
		part := b[s.Offset-start : s.Offset-start+s.Length]
		if checksum(part) != s.Checksum {
			return r.corrupt(info.name(s), s.Offset, "checksum does not fit")
		}
		t := tables[s.State]
		t.reserve(&t.groups[s.Group-m.opts.First], s.Count)
		if err := r.loadSection(info, s, part, t); err != nil {
			return err
		}
		if err := m.Err(); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// loadSection adds the entries of a section to a table.
func (r *fileReader) loadSection(info *FileInfo, s Section, b []byte, t *Table) error {
	twice := func(key []byte) error {
		return r.corrupt(info.name(s), s.Offset, "key %s is there twice", showKey(t.desc, key))
	}
	if t.logged {
		return r.entries(info, s, b, func(key, val []byte) error {
			if err := r.checkGroup(info, s, t.desc, key); err != nil {
				return err
			}
			if !t.load(key, val) {
				return twice(key)
			}
			return nil
		})
	}
	size := 8 + t.desc.ValueSize
	if len(b) != s.Count*size {
		return r.corrupt(info.name(s), s.Offset, "%d entries of %d bytes cannot take %d bytes", s.Count, size, len(b))
	}
	for ; len(b) > 0; b = b[size:] {
		key := int64(binary.LittleEndian.Uint64(b))
		hash := HashInt64(key)
		if int(t.first+t.index(hash)) != s.Group {
			return r.checkGroup(info, s, t.desc, b[:8])
		}
		p, created := t.RefInt64(key, hash)
		if !created {
			return twice(b[:8])
		}
		copy(unsafe.Slice((*byte)(p), t.desc.ValueSize), b[8:size])
	}
	return nil
}

// load adds an entry of a table with a log and says whether the key was new.
func (t *Table) load(key, val []byte) bool {
	hash := t.hashOf(key)
	if t.desc.ValueSize > 0 {
		p, created := t.RefBytes(key, hash)
		copy(unsafe.Slice((*byte)(p), len(val)), val)
		return created
	}
	g, r, p := t.findEntry(key)
	if p != nil {
		return false
	}
	t.put(slotOf{g, r, p}, key, hash, val)
	return true
}
