// SPDX-License-Identifier: Apache-2.0

package verify

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/weir-stream/weir/runtime/snapshot"
	"github.com/weir-stream/weir/runtime/state"
	"github.com/weir-stream/weir/runtime/storage"
)

// Damage is something wrong with one object of a snapshot.
type Damage struct {
	// Object is the key of the object.
	Object string `json:"object"`
	// From and To bound the damaged bytes, To excluded. Both are 0 when the object is missing, To is 0 for "to the end".
	From int64 `json:"from"`
	To   int64 `json:"to,omitempty"`
	// Operator and Subtask say whose state it is; unset for the manifest.
	Operator string `json:"operator,omitempty"`
	Subtask  int    `json:"subtask,omitempty"`
	// Detail says what is wrong.
	Detail string `json:"detail"`
}

// String names the object, the bytes and what is wrong.
func (d Damage) String() string {
	where := d.Object
	if d.Operator != "" {
		where += fmt.Sprintf(" (operator %q, subtask %d)", d.Operator, d.Subtask)
	}
	switch {
	case d.To > 0:
		where += fmt.Sprintf(", bytes %d to %d", d.From, d.To-1)
	case d.From > 0:
		where += fmt.Sprintf(", from byte %d on", d.From)
	}
	return where + ": " + d.Detail
}

// Report is the result of a verification.
type Report struct {
	// Manifest is the key of the manifest.
	Manifest string `json:"manifest"`
	// Snapshot summarizes it; nil when the manifest can't be read.
	Snapshot *Summary `json:"snapshot,omitempty"`
	// Files and Bytes were read, the manifest among them.
	Files int   `json:"files"`
	Bytes int64 `json:"bytes"`
	// Damages is empty for a snapshot that is whole.
	Damages []Damage `json:"damages,omitempty"`
}

// Whole says that nothing is damaged.
func (r *Report) Whole() bool { return len(r.Damages) == 0 }

// ManifestKey returns the key of the manifest and the directory, ending in "/", of the snapshot at a path: its directory or the manifest itself.
func ManifestKey(p string) (key, dir string) {
	if path.Base(p) == snapshot.ManifestName {
		dir = strings.TrimSuffix(p, snapshot.ManifestName)
	} else if p = strings.TrimRight(p, "/"); p != "" {
		dir = p + "/"
	}
	return dir + snapshot.ManifestName, dir
}

// Verify reads every byte of the snapshot at path, a directory or its manifest. Damage is in the report; the error
// says why the snapshot could not be looked at: it doesn't exist, or storage can't be read.
func Verify(ctx context.Context, store storage.Reader, p string) (*Report, error) {
	key, dir := ManifestKey(p)
	b, err := readManifest(ctx, store, key)
	if err != nil {
		return nil, err
	}
	r := &Report{Manifest: key, Files: 1, Bytes: int64(len(b))}
	m, err := snapshot.DecodeManifest(b)
	if c, ok := errors.AsType[*snapshot.CorruptError](err); ok {
		r.Damages = append(r.Damages, Damage{Object: key, To: int64(len(b)), Detail: c.Detail})
		return r, nil
	}
	if err != nil {
		return nil, fmt.Errorf("verifying %s: %w", key, err)
	}
	r.Snapshot = summarize(key, m)
	files := fileReader{store: store, dir: dir, listed: map[string]state.File{}, infos: map[string]*state.FileInfo{}}
	for _, f := range m.Files() {
		files.listed[f.Path] = f.File
	}
	for _, f := range files.inOrder(m) {
		d, err := files.check(ctx, f)
		if err != nil {
			return r, fmt.Errorf("verifying %s: %w", key, err)
		}
		r.Files++
		r.Bytes += f.Size
		if d != nil {
			r.Damages = append(r.Damages, *d)
		}
	}
	for _, f := range m.ChannelFiles() {
		ds, err := files.checkChannels(ctx, f)
		if err != nil {
			return r, fmt.Errorf("verifying %s: %w", key, err)
		}
		r.Files++
		r.Bytes += f.Size
		r.Damages = append(r.Damages, ds...)
	}
	return r, nil
}

func readManifest(ctx context.Context, store storage.Reader, key string) ([]byte, error) {
	b, _, err := store.Get(ctx, key)
	if errors.Is(err, storage.ErrNotFound) {
		return nil, fmt.Errorf("reading the snapshot: there is no manifest %s: give the directory of a checkpoint or savepoint (list them with \"weir snapshot ls\"): %w", key, err)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the manifest %s: %w", key, err)
	}
	return b, nil
}

// fileReader reads the state files of one snapshot.
type fileReader struct {
	store storage.Reader
	dir   string
	// listed are all files of keyed state, infos what the shared ones that are whole say of themselves, both by path.
	listed map[string]state.File
	infos  map[string]*state.FileInfo
}

// inOrder returns the files of keyed state, each index after the shared files that it refers to.
func (fileReader) inOrder(m *snapshot.Manifest) []snapshot.FileRef {
	files := m.Files()
	slices.SortStableFunc(files, func(a, b snapshot.FileRef) int {
		switch {
		case a.Index == b.Index:
			return 0
		case a.Index:
			return 1
		default:
			return -1
		}
	})
	return files
}

// verify reads a file in full; of an index, it checks what that refers to as well.
func (r fileReader) verify(ctx context.Context, f state.File) error {
	info, err := state.VerifyFile(ctx, f, r)
	if err != nil {
		return err
	}
	if f.Shared {
		r.infos[f.Path] = info
	}
	if !f.Index {
		return nil
	}
	info, refs, err := state.ReadIndex(ctx, f, r)
	if err != nil {
		return err
	}
	return state.CheckReferences(f, info, refs, r.listed, r.infos)
}

// ReadFile implements state.FileReader.
func (r fileReader) ReadFile(ctx context.Context, f state.File, off, n int64) ([]byte, error) {
	b, err := r.store.GetRange(ctx, snapshot.FileKey(r.dir, f.Path), off, n)
	if err != nil {
		return nil, err
	}
	if int64(len(b)) < n {
		return nil, &state.CorruptError{
			Path: f.Path, Section: "file", Offset: off + int64(len(b)),
			Reason: fmt.Sprintf("it ends after %d of %d bytes", off+int64(len(b)), f.Size),
		}
	}
	return b, nil
}

// check reads one file in full. The error is one of storage.
func (r fileReader) check(ctx context.Context, f snapshot.FileRef) (*Damage, error) {
	d := &Damage{Object: snapshot.FileKey(r.dir, f.Path), Operator: f.Operator, Subtask: f.Subtask}
	over, err := r.store.GetRange(ctx, d.Object, f.Size, 1)
	switch {
	case errors.Is(err, storage.ErrNotFound):
		d.Detail = "it is missing"
		return d, nil
	case err != nil:
		return nil, err
	case len(over) > 0:
		d.From, d.Detail = f.Size, fmt.Sprintf("it goes on after its %d bytes", f.Size)
		return d, nil
	}
	err = r.verify(ctx, f.File)
	if err == nil {
		return nil, nil //nolint:nilnil // no damage, no error
	}
	c, ok := errors.AsType[*state.CorruptError](err)
	if !ok {
		return nil, err
	}
	d.From, d.To = r.bounds(ctx, f.File, c)
	d.Detail = fmt.Sprintf("%s: %s", c.Section, c.Reason)
	return d, nil
}

// bounds narrows the damage down to a section, if the index can be read.
func (r fileReader) bounds(ctx context.Context, f state.File, c *state.CorruptError) (from, to int64) {
	if c.End > 0 {
		return c.Offset, c.End
	}
	if info, err := state.ReadFileInfo(ctx, f, r); err == nil {
		for _, s := range info.Sections {
			if c.Offset >= s.Offset && c.Offset < s.Offset+s.Length && c.Section != "file" {
				return s.Offset, s.Offset + s.Length
			}
		}
	}
	return c.Offset, f.Size
}
