// SPDX-License-Identifier: Apache-2.0

package state

import (
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"slices"
)

// Reference is a section of another file that an index refers to.
type Reference struct {
	// File is the place of the file in [FileInfo.Files] of the index.
	File int
	// Section is that of the file; its State is the one of the index.
	Section
}

// index writes the references of all tables, by group, and returns the files, which are this snapshot's alone.
func (e *pageEncoder) index(ctx context.Context, w FileWriter, groups int) ([]File, error) {
	x := e.s.newEncoder(w.WriteFile)
	x.refer = e.to.files
	if x.refer == nil {
		return nil, nil
	}
	x.buf = e.buf[:0]
	defer func() { e.buf = x.buf }()
	for g := range groups {
		for i := range e.to.tables {
			x.references(i, g, e.to.tables[i].group(g))
		}
		if len(x.buf) < x.yielded+yieldBytes && len(x.buf) < x.part {
			continue
		}
		if err := x.pause(ctx); err != nil {
			return nil, err
		}
		if len(x.buf) >= x.part {
			if err := x.flush(ctx); err != nil {
				return nil, err
			}
		}
	}
	err := x.flush(ctx)
	return x.files, err
}

// references appends the section of an index for one state and group.
func (e *fileEncoder) references(state, g int, places []place) {
	sec := e.open(state, g)
	for _, p := range places {
		if p.count == 0 {
			continue
		}
		b := binary.AppendUvarint(e.buf, uint64(p.file))
		b = binary.AppendUvarint(b, uint64(p.offset))
		b = binary.AppendUvarint(b, uint64(p.length))
		b = binary.AppendUvarint(b, uint64(p.count))
		e.buf = binary.LittleEndian.AppendUint32(b, p.sum)
		sec.Count++
	}
	e.close(sec)
}

// files decodes the files in the header of an index and returns what follows them.
func (r *fileReader) files(info *FileInfo, b []byte) ([]byte, error) {
	le := binary.LittleEndian
	if len(b) < 4 {
		return nil, r.corrupt("header", 0, "the list of files is cut off")
	}
	n, b := int64(le.Uint32(b)), b[4:]
	for i := range n {
		if len(b) < 4 || int64(len(b)) < 16+int64(le.Uint32(b)) {
			return nil, r.corrupt("header", 0, "file %d of %d is cut off", i, n)
		}
		k := 4 + int(le.Uint32(b))
		info.Files = append(info.Files, File{Path: string(b[4:k]), Size: int64(le.Uint64(b[k:])), CRC32C: le.Uint32(b[k+8:]), Shared: true})
		b = b[k+12:]
	}
	return b, nil
}

// references decodes a section of an index.
func (r *fileReader) references(refs []Reference, info *FileInfo, s Section, b []byte) ([]Reference, error) {
	bad := func(n int) error {
		return r.corrupt(info.name(s), s.Offset, "reference %d of %d is cut off or impossible", n, s.Count)
	}
	for n := range s.Count {
		var v [4]uint64
		for i := range v {
			u, k := binary.Uvarint(b)
			if k <= 0 {
				return nil, bad(n)
			}
			v[i], b = u, b[k:]
		}
		if len(b) < 4 || v[0] >= uint64(len(info.Files)) {
			return nil, bad(n)
		}
		size := uint64(info.Files[v[0]].Size)
		if v[1] > size || v[2] > size-v[1] || v[3] == 0 || v[3] > v[2] {
			return nil, bad(n)
		}
		refs = append(refs, Reference{File: int(v[0]), Section: Section{
			State: s.State, Group: s.Group, Offset: int64(v[1]), Length: int64(v[2]), Count: int(v[3]), Checksum: binary.LittleEndian.Uint32(b),
		}})
		b = b[4:]
	}
	if len(b) > 0 {
		return nil, r.corrupt(info.name(s), s.Offset, "%d bytes follow the last reference", len(b))
	}
	return refs, nil
}

// ReadIndex reads an index: what its header says, and all references in it, in order of key group.
func ReadIndex(ctx context.Context, f File, src FileReader) (*FileInfo, []Reference, error) {
	info, r, err := openFile(ctx, f, src)
	if err != nil {
		return nil, nil, err
	}
	var refs []Reference
	for _, s := range info.Sections {
		b, err := r.section(ctx, info, s)
		if err != nil {
			return nil, nil, err
		}
		if refs, err = r.references(refs, info, s, b); err != nil {
			return nil, nil, err
		}
	}
	return info, refs, nil
}

// CheckReferences checks that each reference of index f is to a section that the file has. listed and infos are the other files of the
// snapshot and what header and index of each say, by path; files without infos are not looked at.
func CheckReferences(f File, index *FileInfo, refs []Reference, listed map[string]File, infos map[string]*FileInfo) error {
	sections := make([]map[int64]Section, len(index.Files))
	for i, file := range index.Files {
		if l := listed[file.Path]; l.Size != file.Size || l.CRC32C != file.CRC32C {
			return &CorruptError{Path: f.Path, Section: "header", Reason: fmt.Sprintf(
				"it refers to %s, %d bytes with checksum %08x, which the manifest doesn't list so", file.Path, file.Size, file.CRC32C)}
		}
		if infos[file.Path] == nil {
			continue
		}
		if infos[file.Path].packed != nil {
			return &CorruptError{Path: f.Path, Section: "header", Reason: fmt.Sprintf("it refers to %s, whose entries are packed", file.Path)}
		}
		sections[i] = map[int64]Section{}
		for _, s := range infos[file.Path].Sections {
			sections[i][s.Offset] = s
		}
	}
	for _, ref := range refs {
		file := index.Files[ref.File]
		if sections[ref.File] == nil {
			continue
		}
		s, ok := sections[ref.File][ref.Offset]
		if ok && infos[file.Path].States[s.State] == index.States[ref.State] {
			s.State = ref.State
		}
		if !ok || s != ref.Section {
			return &CorruptError{Path: f.Path, Section: index.name(ref.Section), Reason: fmt.Sprintf(
				"it refers to bytes %d to %d of %s, which are no such section", ref.Offset, ref.Offset+ref.Length, file.Path)}
		}
	}
	return nil
}

// readGap is how many bytes that nobody needs are read along between two sections, rather than read them one by one.
const readGap = 128 << 10

// appendReferred appends the runs of sections of this backend's key groups that index s refers to. listed are the files of the snapshot.
func (m *Memory) appendReferred(ctx context.Context, runs []sectionRun, s *source, listed map[string]File) ([]sectionRun, error) {
	refs, err := m.myReferences(ctx, s, listed)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(refs, func(a, b Reference) int { return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Offset, b.Offset)) })
	for len(refs) > 0 {
		file := refs[0].File
		var sections []Section
		for len(refs) > 0 && refs[0].File == file {
			sections = append(sections, refs[0].Section)
			refs = refs[1:]
		}
		runs = s.appendRuns(runs, &fileReader{r: s.r.r, f: s.info.Files[file]}, sections, readGap)
	}
	return runs, nil
}

// myReferences returns the references for this backend's key groups, all to files that are listed, and makes room for what they lead to.
func (m *Memory) myReferences(ctx context.Context, s *source, listed map[string]File) ([]Reference, error) {
	var refs []Reference
	runs := s.appendRuns(nil, s.r, m.mySections(s.info), 0)
	err := readRuns(ctx, runs, func(_ *sectionRun, sec Section, b []byte) (err error) {
		have := len(refs)
		if refs, err = s.r.references(refs, s.info, sec, b); err != nil {
			return err
		}
		total := 0
		for _, ref := range refs[have:] {
			file := s.info.Files[ref.File]
			if l, ok := listed[file.Path]; !ok || l.Size != file.Size {
				return s.r.corrupt("header", 0, "it refers to %s, %d bytes, which the manifest doesn't list so", file.Path, file.Size)
			}
			total += ref.Count
		}
		t := s.tables[sec.State]
		t.count(loaded{pages: t.reserve(&t.groups[sec.Group-m.opts.First], total)})
		return m.Err()
	})
	return refs, err
}
