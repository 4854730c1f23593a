// SPDX-License-Identifier: Apache-2.0

package state

import (
	"context"
	"encoding/binary"
	"fmt"
	"unsafe"
)

// readRun is how many bytes of neighbouring sections are read at once. A request costs a server about as much as a megabyte; a file of the usual
// size takes two.
const readRun = 10 << 20

// keptTails is how many bytes of the ends of files are kept until their sections are read, rather than read again.
const keptTails = 8 << 20

// source is an open file of a snapshot.
type source struct {
	info   *FileInfo
	r      *fileReader
	tables []*Table
}

// sectionRun is a number of sections that are read at once.
type sectionRun struct {
	*source
	// r reads the file that holds the sections, which an index only refers to.
	r        *fileReader
	sections []Section
}

// Restore reads the entries of this backend's key groups from the files of a snapshot. The files may be those of several
// old subtasks; sections of other key groups are not read, nor those of shared files that no index refers to. Every byte that is used is
// checked. With a [ConcurrentReader], other goroutines read ahead, up to 36 MiB or one section, and add entries; none of them is left when Restore returns.
// It is called before processing starts; after an error the backend is of no use.
func (m *Memory) Restore(ctx context.Context, files []File, r FileReader) error {
	listed := map[string]File{}
	var mine []File
	for _, f := range files {
		switch {
		case f.Shared:
			listed[f.Path] = f
		case f.LastGroup >= m.opts.First && f.FirstGroup <= m.opts.Last:
			mine = append(mine, f)
		}
	}
	defer m.makeBlanks()
	sources, err := m.openSources(ctx, mine, r)
	if err != nil {
		return fmt.Errorf("restoring keyed state: %w", err)
	}
	var runs []sectionRun
	for i := range sources {
		s := &sources[i]
		if !s.info.Index {
			runs = s.appendRuns(runs, s.r, m.mySections(s.info), 0)
			continue
		}
		if runs, err = m.appendReferred(ctx, runs, s, listed); err != nil {
			return fmt.Errorf("restoring keyed state: %w", err)
		}
	}
	if err := m.restoreRuns(ctx, runs); err != nil {
		return fmt.Errorf("restoring keyed state: %w", err)
	}
	return nil
}

// openSources reads header and index of files and makes their tables.
func (m *Memory) openSources(ctx context.Context, files []File, src FileReader) ([]source, error) {
	sources, tails := make([]source, 0, len(files)), 0
	opening := reads[source]{
		n: len(files), atOnce: readsAtOnce(src),
		size: func(i int) int64 { return min(files[i].Size, tailBytes) },
		fetch: func(ctx context.Context, i int) (s source, err error) {
			s.info, s.r, err = openFile(ctx, files[i], src)
			return s, err
		},
		use: func(_ int, s source) (err error) {
			if err := m.sameGroups(s.r.f, s.info); err != nil {
				return err
			}
			if tails += len(s.r.tail); tails > keptTails {
				s.r.tail = nil
			}
			s.r.head = nil
			s.tables, err = m.restoredTables(s.info)
			sources = append(sources, s)
			return err
		},
	}
	err := opening.run(ctx)
	return sources, err
}

// mySections returns the sections of a file that are of this backend's key groups.
func (m *Memory) mySections(info *FileInfo) []Section {
	var mine []Section
	for _, s := range info.Sections {
		if s.Group >= m.opts.First && s.Group <= m.opts.Last {
			mine = append(mine, s)
		}
	}
	return mine
}

// sameGroups checks that a file was written with the job's number of key groups.
func (m *Memory) sameGroups(f File, info *FileInfo) error {
	if info.MaxParallelism == m.opts.MaxParallelism {
		return nil
	}
	return fmt.Errorf("state file %s was written with max parallelism %d, the job has %d; it can't be changed for existing state",
		f.Path, info.MaxParallelism, m.opts.MaxParallelism)
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

// neighbours returns how many of the sections lie side by side, but for gaps of the given size, and how many bytes they take with those.
func neighbours(s []Section, gap int64) (n int, size int64) {
	end := s[0].Offset + s[0].Length
	for n = 1; n < len(s) && s[n].Offset >= end && s[n].Offset <= end+gap; n++ {
		end = s[n].Offset + s[n].Length
	}
	return n, end - s[0].Offset
}

// runOf returns how many sections, of those that lie side by side, are read together: about size bytes and at most readRun, unless one is larger.
func runOf(s []Section, size int64) int {
	n := 1
	for n < len(s) && s[n].Offset-s[0].Offset < size && s[n].Offset+s[n].Length <= s[0].Offset+readRun {
		n++
	}
	return n
}

// appendRuns appends the runs of sections of one file, in order of offset. Sections side by side, but for gaps of the given size, become as few runs as
// may be, of about the same size.
func (s *source) appendRuns(runs []sectionRun, r *fileReader, sections []Section, gap int64) []sectionRun {
	for len(sections) > 0 {
		n, size := neighbours(sections, gap)
		size /= (size + readRun - 1) / readRun
		for side := sections[:n]; len(side) > 0; {
			k := runOf(side, size)
			runs = append(runs, sectionRun{source: s, r: r, sections: side[:k]})
			side = side[k:]
		}
		sections = sections[n:]
	}
	return runs
}

// restoreRuns reads runs and adds their entries to the tables.
func (m *Memory) restoreRuns(ctx context.Context, runs []sectionRun) error {
	room := m.newRoom(runs)
	if len(runs) > 1 && readsAtOnce(runs[0].r.r) > 1 {
		return m.loadRuns(ctx, runs, room)
	}
	l := loader{room: room, n: map[*Table]loaded{}}
	err := readRuns(ctx, runs, func(run *sectionRun, s Section, b []byte) error {
		t, add := run.tables[s.State], l.load
		if t.logged {
			t.count(loaded{pages: room.reserve(t, s)})
			add = loadLogged
		}
		if err := add(run, s, b); err != nil {
			return err
		}
		return m.Err()
	})
	if err != nil {
		return err
	}
	return m.loadRest(loaders{l})
}

// readRuns reads the sections of all runs, checks them and calls use for each, in order.
func readRuns(ctx context.Context, runs []sectionRun, use func(run *sectionRun, s Section, b []byte) error) error {
	if len(runs) == 0 {
		return ctx.Err()
	}
	old := make(spares, 1)
	all := runReads(runs, old)
	all.use = func(i int, c chunk) error {
		defer old.give(c)
		run := &runs[i]
		for _, s := range run.sections {
			part, err := run.part(s, c.b)
			if err != nil {
				return err
			}
			if err := use(run, s, part); err != nil {
				return err
			}
		}
		return ctx.Err()
	}
	return all.run(ctx)
}

// runReads are the reads of runs, without a use, in memory that is given back to old.
func runReads(runs []sectionRun, old spares) reads[chunk] {
	return reads[chunk]{
		n: len(runs), atOnce: readsAtOnce(runs[0].r.r),
		size: func(i int) int64 { return runs[i].size() },
		fetch: func(ctx context.Context, i int) (chunk, error) {
			run := &runs[i]
			return run.r.readChunk(ctx, run.info.name(run.sections[0]), run.sections[0].Offset, run.size(), old)
		},
	}
}

// part returns the bytes of a section, checked, out of those of the run.
func (r *sectionRun) part(s Section, b []byte) ([]byte, error) {
	part := r.bytes(s, b)
	if checksum(part) != s.Checksum {
		return nil, r.wrong(s)
	}
	return part, nil
}

// bytes returns the bytes of a section out of those of the run.
func (r *sectionRun) bytes(s Section, b []byte) []byte {
	at := s.Offset - r.sections[0].Offset
	return b[at : at+s.Length]
}

// wrong is the error of a section whose bytes aren't those that were written.
func (r *sectionRun) wrong(s Section) error {
	return r.r.corrupt(r.info.name(s), s.Offset, "checksum does not fit")
}

// size is how many bytes lie between the beginning of the first section and the end of the last.
func (r *sectionRun) size() int64 {
	last := r.sections[len(r.sections)-1]
	return last.Offset + last.Length - r.sections[0].Offset
}

// loadLogged adds the entries of a section to a table with a log.
func loadLogged(run *sectionRun, s Section, b []byte) error {
	t := run.tables[s.State]
	return run.r.entries(run.info, s, b, func(key, val []byte) error {
		if err := run.r.checkGroup(run.info, s, t.desc, key); err != nil {
			return err
		}
		if !t.load(key, val) {
			return run.r.twice(run.info, s, t.desc, key)
		}
		return nil
	})
}

// twice is the error of a key that is there already.
func (r *fileReader) twice(info *FileInfo, s Section, d Descriptor, key []byte) error {
	return r.corrupt(info.name(s), s.Offset, "key %s is there twice", showKey(d, key))
}

// fits checks the size of a section with integer keys and values of a fixed size.
func (r *fileReader) fits(info *FileInfo, s Section, b []byte, t *Table) error {
	if size := info.widths(s).entry(int(t.stride)); len(b) != s.Count*size {
		return r.corrupt(info.name(s), s.Offset, "%d entries of %d bytes cannot take %d bytes", s.Count, size, len(b))
	}
	return nil
}

// loadLeft adds entries with integer keys that loadNew has left, and finds what is wrong with them.
func (r *fileReader) loadLeft(info *FileInfo, s Section, b []byte, t *Table) error {
	for size := int(t.stride); len(b) > 0; b = b[size:] {
		key := int64(binary.LittleEndian.Uint64(b))
		hash := HashInt64(key)
		if int(t.first+t.index(hash)) != s.Group {
			return r.checkGroup(info, s, t.desc, b[:8])
		}
		p, created := t.RefInt64(key, hash)
		if !created {
			return r.twice(info, s, t.desc, b[:8])
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
