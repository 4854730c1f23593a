// SPDX-License-Identifier: Apache-2.0

package files

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/zeebo/xxh3"

	"github.com/weir-stream/weir/runtime/operator"
	"github.com/weir-stream/weir/runtime/operator/txn"
)

// sampleBytes is how much of the beginning of a file, and of what is before the position, is remembered as a hash.
const sampleBytes = 1024

// position is how far a file was read, and by what it is recognized.
type position struct {
	// Offset is that of the first byte that is not handed out: always after a line end, but for the end of a bounded file.
	Offset int64 `json:"offset"`
	// Seen is how long the file was when its end was last met.
	Seen int64 `json:"seen,omitempty"`
	// ModTime is that of the file when it was last read, in nanoseconds since the Unix epoch.
	ModTime int64 `json:"modTime,omitempty"`
	// Head and Tail are hashes of the first HeadLen bytes and of the TailLen bytes before Offset.
	Head    uint64 `json:"head,omitempty"`
	Tail    uint64 `json:"tail,omitempty"`
	HeadLen int    `json:"headLen,omitempty"`
	TailLen int    `json:"tailLen,omitempty"`
	// Done says that the end was met: all complete lines up to Seen are handed out.
	Done bool `json:"-"`
}

// file is what the task knows of a file. Its position belongs to the goroutine of the task.
type file struct {
	name string
	id   xxh3.Uint128
	pos  position
}

// identify returns the id of a name. Files are known by it once they are read, so that names need not be kept.
func identify(name string) xxh3.Uint128 { return xxh3.HashString128(name) }

// owned says whether a file belongs to a subtask.
func owned(id xxh3.Uint128, subtask, parallelism int) bool {
	return id.Lo%uint64(parallelism) == uint64(subtask)
}

// sampleTail hashes what is before the position at.
func sampleTail(read []byte, at int) (hash uint64, n int) {
	n = min(at, sampleBytes)
	return xxh3.Hash(read[at-n : at]), n
}

// Names of the lists of state.
const (
	listingList  = "listing"
	openList     = "open"
	finishedList = "finished"
)

const (
	finishedSize = 16 + 4*8 + 8 + 2*2
	// finishedPack is how many finished files share an entry.
	finishedPack = 64
)

// listing says what the set of files is. It is there once the files have been listed.
type listing struct {
	Path    string `json:"path"`
	Bounded bool   `json:"bounded"`
}

// openEntry is the state of a file that isn't read to its end.
type openEntry struct {
	File string `json:"file"`
	position
}

// encodeState writes the state of a source.
func encodeState(l listing, files []file) ([]operator.List, error) {
	head, err := json.Marshal(l)
	if err != nil {
		return nil, fmt.Errorf("saving the files: %w", err)
	}
	var unread, finished [][]byte
	packed := 0
	for i := range files {
		f := &files[i]
		if !f.pos.Done {
			e, err := json.Marshal(openEntry{f.name, f.pos})
			if err != nil {
				return nil, fmt.Errorf("saving the position in %s: %w", f.name, err)
			}
			unread = append(unread, e)
			continue
		}
		if packed%finishedPack == 0 {
			finished = append(finished, nil)
		}
		packed++
		last := len(finished) - 1
		finished[last] = appendFinished(finished[last], f)
	}
	return []operator.List{
		{Name: listingList, Mode: operator.Union, Entries: [][]byte{head}},
		{Name: openList, Mode: operator.Union, Entries: unread},
		{Name: finishedList, Mode: operator.Union, Entries: finished},
	}, nil
}

// CheckState returns a check whether restored operator state is that of a source of files. Without dead letters, it has no use for some that are still to be committed.
func CheckState(deadLetters bool) func([]operator.List) error {
	names := []string{listingList, openList, finishedList}
	if deadLetters {
		names = append(names, txn.ListName)
	}
	return operator.OnlyLists(names...)
}

func appendFinished(dst []byte, f *file) []byte {
	le := binary.LittleEndian
	for _, v := range []uint64{f.id.Hi, f.id.Lo, uint64(f.pos.Offset), uint64(f.pos.Seen), uint64(f.pos.ModTime), f.pos.Head, f.pos.Tail} {
		dst = le.AppendUint64(dst, v)
	}
	return le.AppendUint16(le.AppendUint16(dst, uint16(f.pos.HeadLen)), uint16(f.pos.TailLen))
}

// decodeState reads the lists of all subtasks and keeps what belongs to this one. found is false when nothing was listed yet.
func decodeState(c *operator.Context) (l listing, files []*file, found bool, err error) {
	heads := c.List(listingList)
	for i, e := range heads {
		var one listing
		if err := json.Unmarshal(e, &one); err != nil {
			return l, nil, false, fmt.Errorf("reading the state of the files: %w", err)
		}
		if i == 0 {
			l = one
		}
		l.Bounded = l.Bounded && one.Bounded
	}
	for _, e := range c.List(openList) {
		var o openEntry
		if err := json.Unmarshal(e, &o); err != nil {
			return l, nil, false, fmt.Errorf("reading the state of the files: %w", err)
		}
		if o.HeadLen < 0 || o.TailLen < 0 || o.HeadLen > sampleBytes || o.TailLen > sampleBytes || int64(o.TailLen) > o.Offset {
			return l, nil, false, fmt.Errorf("reading the state of %s: the position makes no sense", o.File)
		}
		if id := identify(o.File); owned(id, c.Subtask, c.Parallelism) {
			files = append(files, &file{name: o.File, id: id, pos: o.position})
		}
	}
	for _, e := range c.List(finishedList) {
		if files, err = decodeFinished(files, e, c); err != nil {
			return l, nil, false, err
		}
	}
	return l, files, len(heads) > 0, nil
}

func decodeFinished(files []*file, e []byte, c *operator.Context) ([]*file, error) {
	if len(e)%finishedSize != 0 {
		return nil, errors.New("reading the state of finished files: an entry has a wrong length")
	}
	for ; len(e) > 0; e = e[finishedSize:] {
		at := 0
		next := func() uint64 {
			at += 8
			return binary.LittleEndian.Uint64(e[at-8:])
		}
		f := &file{id: xxh3.Uint128{Hi: next(), Lo: next()}}
		f.pos = position{Offset: int64(next()), Seen: int64(next()), ModTime: int64(next()), Head: next(), Tail: next(), Done: true}
		f.pos.HeadLen, f.pos.TailLen = int(binary.LittleEndian.Uint16(e[at:])), int(binary.LittleEndian.Uint16(e[at+2:]))
		if owned(f.id, c.Subtask, c.Parallelism) {
			files = append(files, f)
		}
	}
	return files, nil
}
