// SPDX-License-Identifier: Apache-2.0

package files

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	pathpkg "path"
	"path/filepath"
	"strings"

	"github.com/weir-stream/weir/runtime/contract"
	"github.com/weir-stream/weir/runtime/storage"
)

// storeTempDir is where file stores keep what is being written.
const storeTempDir = ".weir-tmp"

// errGone says that a file that was listed is no longer there.
var errGone = errors.New("the file does not exist")

// info is what a listing says of a file. Names are relative to the base of the tree.
type info struct {
	name    string
	size    int64
	modTime int64
}

// object is an open file.
type object interface {
	// readAt fills buf from an offset; fewer bytes than asked for mean the end.
	readAt(ctx context.Context, buf []byte, off int64) (int, error)
	close()
}

// tree is the files that a path stands for.
type tree interface {
	// list calls fn for each file, in the order of names.
	list(ctx context.Context, fn func(info)) error
	// open opens a file; errGone when it isn't there.
	open(ctx context.Context, name string) (object, error)
	// path names a file for people.
	path(name string) string
	// chunk is how many bytes to read at a time.
	chunk() int
	close()
}

// How much is read at a time: a request to a store takes long to be answered, a call of the file system doesn't.
const (
	localChunk = 512 << 10
	storeChunk = 4 << 20
)

// openTree opens what path stands for.
func openTree(ctx context.Context, p string, settings *contract.S3, o opener) (tree, error) {
	if !isS3(p) {
		p = strings.TrimPrefix(p, "file://")
		abs, err := filepath.Abs(p)
		if err != nil {
			return nil, fmt.Errorf("finding %s: %w", p, err)
		}
		base, pattern := splitPattern(filepath.ToSlash(abs))
		if base == "" {
			base = "/"
		}
		return &localTree{base: base, pattern: pattern}, nil
	}
	bucket, key, err := splitS3(p)
	if err != nil {
		return nil, err
	}
	store, err := orDefault(o)(ctx, storage.Config{S3: s3Config(bucket, "", settings)})
	if err != nil {
		return nil, err
	}
	base, pattern := splitPattern(key)
	return &storeTree{store: store, bucket: bucket, base: base, pattern: pattern}, nil
}

// localTree is files of a file system.
type localTree struct {
	base    string
	pattern []string
	// single is set when base is a file.
	single bool
}

func (t *localTree) path(name string) string {
	if t.single {
		return t.base
	}
	return pathpkg.Join(t.base, name)
}

func (t *localTree) chunk() int { return localChunk }

func (t *localTree) close() {}

func (t *localTree) list(ctx context.Context, fn func(info)) error {
	st, err := os.Stat(t.base)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("listing files: %s does not exist: create it or correct the path", t.base)
	case err != nil:
		return storage.Describe("listing files of", t.base, "", bare(err))
	case !st.IsDir() && t.pattern == nil:
		t.single = true
		fn(info{name: pathpkg.Base(t.base), size: st.Size(), modTime: st.ModTime().UnixNano()})
		return nil
	}
	err = filepath.WalkDir(t.base, func(p string, d fs.DirEntry, err error) error {
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case errors.Is(err, fs.ErrNotExist):
			return nil // deleted meanwhile
		case err != nil:
			return err
		}
		return t.visit(p, d, fn)
	})
	if err != nil {
		return storage.Describe("listing files of", t.base, "", err)
	}
	return nil
}

// visit looks at one entry of a directory.
func (t *localTree) visit(p string, d fs.DirEntry, fn func(info)) error {
	name, err := filepath.Rel(t.base, p)
	if err != nil {
		return err
	}
	name = filepath.ToSlash(name)
	if d.IsDir() {
		if ours(name) {
			return filepath.SkipDir
		}
		return nil
	}
	if ours(name) || t.pattern != nil && !matches(t.pattern, strings.Split(name, "/")) {
		return nil
	}
	st, err := os.Stat(p) // follows links to files
	if err != nil || !st.Mode().IsRegular() {
		return nil //nolint:nilerr // deleted meanwhile, or a link to nothing
	}
	fn(info{name: name, size: st.Size(), modTime: st.ModTime().UnixNano()})
	return nil
}

func (t *localTree) open(_ context.Context, name string) (object, error) {
	f, err := os.Open(t.path(name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errGone
	}
	if err != nil {
		return nil, storage.Describe("opening", t.path(name), "", bare(err))
	}
	return localFile{f}, nil
}

type localFile struct{ f *os.File }

func (f localFile) close() { _ = f.f.Close() }

func (f localFile) readAt(_ context.Context, buf []byte, off int64) (int, error) {
	n, err := f.f.ReadAt(buf, off)
	if err != nil && !errors.Is(err, io.EOF) {
		return n, storage.Describe("reading", f.f.Name(), "", bare(err))
	}
	return n, nil
}

func bare(err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Err
	}
	return err
}

// storeTree is objects of a bucket.
type storeTree struct {
	store   storage.Store
	bucket  string
	base    string
	pattern []string
}

func (t *storeTree) key(name string) string {
	if t.base == "" {
		return name
	}
	if name == "" {
		return t.base
	}
	return t.base + "/" + name
}

func (t *storeTree) path(name string) string { return s3Scheme + t.bucket + "/" + t.key(name) }

func (t *storeTree) chunk() int { return storeChunk }

func (t *storeTree) close() { _ = t.store.Close() }

func (t *storeTree) list(ctx context.Context, fn func(info)) error {
	return t.store.List(ctx, t.base, func(o storage.Object) error {
		name, ok := t.name(o.Key)
		if ok {
			fn(info{name: name, size: o.Size, modTime: o.ModTime.UnixNano()})
		}
		return nil
	})
}

// name returns the name of a key that is one of the files; that of an object at the base itself is empty.
func (t *storeTree) name(key string) (string, bool) {
	name := key
	switch {
	case t.base == "":
	case key == t.base:
		return "", t.pattern == nil
	case !strings.HasPrefix(key, t.base+"/"):
		return "", false
	default:
		name = key[len(t.base)+1:]
	}
	return name, !ours(name) && (t.pattern == nil || matches(t.pattern, strings.Split(name, "/")))
}

func (t *storeTree) open(_ context.Context, name string) (object, error) {
	return storeObject{t.store, t.key(name)}, nil
}

type storeObject struct {
	store storage.Store
	key   string
}

func (storeObject) close() {}

func (o storeObject) readAt(ctx context.Context, buf []byte, off int64) (int, error) {
	if len(buf) == 0 {
		return 0, nil
	}
	data, err := o.store.GetRange(ctx, o.key, off, int64(len(buf)))
	if errors.Is(err, storage.ErrNotFound) {
		return 0, errGone
	}
	return copy(buf, data), err
}
