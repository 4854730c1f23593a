// SPDX-License-Identifier: Apache-2.0

package filestore

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"path"
	"slices"
	"strings"
	"syscall"

	"github.com/weir-stream/weir/runtime/storage"
)

// listing is one run of List.
type listing struct {
	store  *Store
	prefix string
	fn     func(storage.Object) error
}

// node is an entry of a directory: an object, or a directory with what is in it.
type node struct {
	key     string
	object  *storage.Object
	entries []fs.DirEntry
}

// order is what a node sorts by: keys below a directory have a "/" after its name.
func (n node) order() string {
	if n.object == nil {
		return n.key + "/"
	}
	return n.key
}

// stoppedError marks an error of the caller's function, which is returned as it is.
type stoppedError struct{ error }

// List implements storage.Lister. Symbolic links to files inside the directory are listed, those to directories are not.
func (s *Store) List(ctx context.Context, prefix string, fn func(storage.Object) error) error {
	const op = "listing"
	if err := storage.CheckPrefix(prefix); err != nil {
		return err
	}
	if reserved(prefix) {
		return nil
	}
	l := listing{store: s, prefix: prefix, fn: fn}
	dir := "."
	if i := strings.LastIndexByte(prefix, '/'); i > 0 {
		dir = prefix[:i]
	}
	entries, err := fs.ReadDir(s.root.FS(), dir)
	switch {
	case errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR):
		return nil
	case err == nil && !slices.ContainsFunc(entries, isVersion):
		err = l.walk(ctx, dir, entries)
	}
	if stopped, ok := errors.AsType[stoppedError](err); ok {
		return stopped.error
	}
	return s.fail(op, prefix, err)
}

func isVersion(entry fs.DirEntry) bool {
	_, ok := parseVersion(entry.Name())
	return ok
}

// walk lists what is in a directory.
func (l listing) walk(ctx context.Context, dir string, entries []fs.DirEntry) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	nodes, err := l.nodes(ctx, dir, entries)
	if err != nil {
		return err
	}
	for _, n := range nodes {
		if err := ctx.Err(); err != nil {
			return err
		}
		if n.object == nil {
			err = l.walk(ctx, n.key, n.entries)
		} else if err = l.fn(*n.object); err != nil {
			err = stoppedError{err}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// nodes looks at the entries of a directory that can have the prefix.
func (l listing) nodes(ctx context.Context, dir string, entries []fs.DirEntry) ([]node, error) {
	var nodes []node
	for _, entry := range entries {
		if err := ctx.Err(); err != nil {
			return nil, err // a directory may be large, and slow to look into
		}
		key := path.Join(dir, entry.Name())
		if key == tempDir || !l.mayHold(key, entry.IsDir()) {
			continue
		}
		n, err := l.node(key, entry)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue // deleted meanwhile
		case err != nil:
			return nil, err
		case n.object != nil && !strings.HasPrefix(key, l.prefix):
			continue
		}
		if n.object != nil || len(n.entries) > 0 {
			nodes = append(nodes, n)
		}
	}
	slices.SortFunc(nodes, func(a, b node) int { return cmp.Compare(a.order(), b.order()) })
	return nodes, nil
}

// mayHold says whether the key, or one below it if it is a directory, can start with the prefix.
func (l listing) mayHold(key string, dir bool) bool {
	if strings.HasPrefix(key, l.prefix) {
		return true
	}
	return dir && strings.HasPrefix(l.prefix, key+"/")
}

func (l listing) node(key string, entry fs.DirEntry) (node, error) {
	if entry.IsDir() {
		return l.dirNode(key)
	}
	if err := storage.CheckKey(key); err != nil {
		return node{}, err
	}
	info, err := entry.Info()
	if err == nil && info.Mode()&fs.ModeSymlink != 0 {
		info, err = l.store.root.Stat(key)
	}
	if err != nil || !info.Mode().IsRegular() {
		return node{}, err
	}
	return node{key: key, object: &storage.Object{Key: key, Size: info.Size(), ModTime: info.ModTime()}}, nil
}

// dirNode reads a directory, which is an object if it holds versions.
func (l listing) dirNode(key string) (node, error) {
	entries, err := fs.ReadDir(l.store.root.FS(), key)
	if err != nil {
		return node{}, err
	}
	var newest fs.DirEntry // entries are sorted, and so are numbers
	for _, entry := range entries {
		if isVersion(entry) {
			newest = entry
		}
	}
	if newest == nil {
		return node{key: key, entries: entries}, nil
	}
	info, err := newest.Info()
	if errors.Is(err, fs.ErrNotExist) {
		return l.dirNode(key) // swapped many times over since
	}
	if err != nil {
		return node{}, err
	}
	return node{key: key, object: &storage.Object{Key: key, Size: info.Size(), ModTime: info.ModTime()}}, nil
}
