// SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"

	"github.com/weir-stream/weir/runtime/operator"
	"github.com/weir-stream/weir/runtime/state"
)

// ManifestFormat is the newest version of the encoding of the manifest. All versions up to it are read; a manifest is written in the oldest
// that has all it holds, so that an older Weir can read what it can make use of.
const ManifestFormat = 2

// Bounds of a manifest.
const (
	// MaxManifestSize is the largest encoded manifest that is read or written.
	MaxManifestSize = 512 << 20
	// MaxKeyGroups is the largest number of key groups of a job.
	MaxKeyGroups = 32768
	// MaxNameLength bounds the name of an operator or of a list, in bytes.
	MaxNameLength = 1024
	// MaxPathLength bounds the path of a file, in bytes.
	MaxPathLength = 1024
	// maxHeaderLength is more than the longest header line.
	maxHeaderLength = 80
)

const headerFormat = "weir-manifest %d %08x %d\n"

var manifestTable = crc32.MakeTable(crc32.Castagnoli)

// manifestSum is the checksum in the header: of format and content.
func manifestSum(format int, body []byte) uint32 {
	return crc32.Update(Checksum(fmt.Appendf(nil, "weir-manifest %d\n", format)), manifestTable, body)
}

// Checksum returns the CRC32C of b, the checksum of every object of a snapshot.
func Checksum(b []byte) uint32 { return crc32.Checksum(b, manifestTable) }

// A CorruptError says that bytes of a snapshot are not those that were written.
type CorruptError struct {
	// Object names the damaged object; empty where only the caller knows it.
	Object string
	// Detail says what is wrong with it.
	Detail string
}

// Error returns the message.
func (e *CorruptError) Error() string {
	return fmt.Sprintf("%s is damaged: %s; restore from another checkpoint or savepoint, or put back the object from a backup",
		cmp.Or(e.Object, "manifest"), e.Detail)
}

func corrupt(format string, args ...any) error {
	return &CorruptError{Detail: fmt.Sprintf(format, args...)}
}

// EncodeManifest returns the encoding of m, which is checked first. Operators and subtasks may come in any order and are
// written in order. The encoding is a header line with the format, the checksum of format and content, and the length of the content, and then JSON.
func EncodeManifest(m *Manifest) ([]byte, error) {
	c := *m
	c.Format = m.format()
	c.Operators = sorted(m.Operators)
	if err := c.Validate(); err != nil {
		return nil, fmt.Errorf("encoding the manifest of %s %d: %w", m.Kind, m.Checkpoint, err)
	}
	body, err := json.Marshal(&c)
	if err != nil {
		return nil, fmt.Errorf("encoding the manifest of %s %d: %w", m.Kind, m.Checkpoint, err)
	}
	out := fmt.Appendf(make([]byte, 0, len(body)+maxHeaderLength), headerFormat, c.Format, manifestSum(c.Format, body), len(body))
	out = append(out, body...)
	if len(out) > MaxManifestSize {
		return nil, fmt.Errorf("encoding the manifest of %s %d: it takes %d bytes and at most %d are allowed; keep large state in keyed state instead of operator lists",
			m.Kind, m.Checkpoint, len(out), MaxManifestSize)
	}
	return out, nil
}

func sorted(ops []OperatorState) []OperatorState {
	out := slices.Clone(ops)
	slices.SortFunc(out, func(a, b OperatorState) int { return cmp.Compare(a.Name, b.Name) })
	for i := range out {
		out[i].Subtasks = slices.Clone(out[i].Subtasks)
		slices.SortFunc(out[i].Subtasks, func(a, b SubtaskState) int { return cmp.Compare(a.Index, b.Index) })
	}
	return out
}

// DecodeManifest reads the encoding of a manifest. Any byte that differs from what was written yields an error: a
// [CorruptError], or a message about the format if that is newer than this code.
func DecodeManifest(b []byte) (*Manifest, error) {
	m, err := decodeManifest(b)
	if err != nil {
		return nil, fmt.Errorf("reading a manifest: %w", err)
	}
	return m, nil
}

func decodeManifest(b []byte) (*Manifest, error) {
	if len(b) > MaxManifestSize {
		return nil, corrupt("it is longer than %d bytes", MaxManifestSize)
	}
	body, format, err := checkHeader(b)
	if err != nil {
		return nil, err
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	m := &Manifest{}
	if err := d.Decode(m); err != nil {
		return nil, corrupt("its content can't be understood: %v", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, corrupt("something follows its content")
	}
	if m.Format != format {
		return nil, corrupt("header and content disagree about the format: %d and %d", format, m.Format)
	}
	if m.format() > format {
		return nil, corrupt("its content takes format %d, and it says %d", m.format(), format)
	}
	if err := m.Validate(); err != nil {
		return nil, corrupt("%v", err)
	}
	return m, nil
}

// format is the oldest format that has all that the manifest holds.
func (m *Manifest) format() int {
	for i := range m.Operators {
		for j := range m.Operators[i].Subtasks {
			s := &m.Operators[i].Subtasks[j]
			if len(s.Channels) > 0 || slices.ContainsFunc(s.Keyed, func(f state.File) bool { return f.Shared || f.Index }) ||
				slices.ContainsFunc(s.Lists, func(l operator.List) bool { return l.Type != "" }) {
				return 2
			}
		}
	}
	return 1
}

// checkHeader returns what follows the header and the format, once length and checksum agree.
func checkHeader(b []byte) (body []byte, format int, err error) {
	end := bytes.IndexByte(b[:min(len(b), maxHeaderLength)], '\n')
	if end < 0 {
		return nil, 0, corrupt("it doesn't begin with the header of a manifest")
	}
	header, body := string(b[:end+1]), b[end+1:]
	var (
		size int
		sum  uint32
	)
	if n, err := fmt.Sscanf(header, headerFormat, &format, &sum, &size); n != 3 || err != nil {
		return nil, 0, corrupt("its header is not that of a manifest")
	}
	if fmt.Sprintf(headerFormat, format, sum, size) != header {
		return nil, 0, corrupt("its header is not in the exact form")
	}
	want := manifestSum(format, body)
	if format > ManifestFormat && size == len(body) && want == sum {
		return nil, 0, fmt.Errorf("it has format %d and this version reads up to %d: use the version of Weir that wrote it, or a newer one",
			format, ManifestFormat)
	}
	switch {
	case format < 1 || format > ManifestFormat:
		return nil, 0, corrupt("its header names format %d, which doesn't exist", format)
	case size > len(body):
		return nil, 0, corrupt("%d of %d bytes of its content are missing", size-len(body), size)
	case size < len(body):
		return nil, 0, corrupt("%d bytes too many follow its content of %d bytes", len(body)-size, size)
	case want != sum:
		return nil, 0, corrupt("its content of %d bytes has checksum %08x and should have %08x", size, want, sum)
	}
	return body, format, nil
}
