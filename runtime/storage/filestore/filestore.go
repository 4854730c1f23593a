// SPDX-License-Identifier: Apache-2.0

package filestore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/weir-stream/weir/runtime/storage"
)

// tempDir holds files that are being written. No key can name it.
const tempDir = ".weir-tmp"

// staleTemp is the age at which a temporary file is what a dead process left. A write takes seconds.
const staleTemp = 24 * time.Hour

// Access by the umask, as for any program's output.
const (
	fileMode = 0o666
	dirMode  = 0o777
)

var _ storage.Store = (*Store)(nil)

// Store is a directory as an object store.
type Store struct {
	root     *os.Root
	dir      string
	readOnly bool
}

// Open opens the directory, and makes it unless cfg says that it is only read.
func Open(cfg storage.FileConfig) (*Store, error) {
	if cfg.Dir == "" {
		return nil, &storage.Error{Op: "opening a directory", Err: errors.New("none is given"), Reason: storage.Misconfigured, Remedy: "give the path of a directory"}
	}
	dir, err := filepath.Abs(cfg.Dir)
	if err != nil {
		return nil, storage.Describe("opening", cfg.Dir, "", err)
	}
	if !cfg.ReadOnly {
		if err := os.MkdirAll(dir, dirMode); err != nil {
			return nil, openError(dir, err)
		}
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, openError(dir, err)
	}
	s := &Store{root: root, dir: dir, readOnly: cfg.ReadOnly}
	if !cfg.ReadOnly {
		s.removeStaleTemp()
	}
	return s, nil
}

func openError(dir string, cause error) error {
	err := storage.Describe("opening the directory", "", dir, cause)
	if e, ok := errors.AsType[*storage.Error](err); ok && e.Remedy == "" {
		switch {
		case errors.Is(cause, fs.ErrNotExist):
			e.Reason, e.Remedy = storage.Missing, "check the path: it must exist to be read from"
		case errors.Is(cause, syscall.ENOTDIR), errors.Is(cause, fs.ErrExist):
			e.Reason, e.Remedy = storage.Missing, "it is a file: give the path of a directory"
		}
	}
	return err
}

// removeStaleTemp drops what processes that died have left. It is best effort: such files are in nobody's way.
func (s *Store) removeStaleTemp() {
	entries, err := fs.ReadDir(s.root.FS(), tempDir)
	if err != nil {
		return
	}
	for _, entry := range entries {
		if info, err := entry.Info(); err == nil && time.Since(info.ModTime()) > staleTemp {
			_ = s.root.Remove(tempDir + "/" + entry.Name())
		}
	}
}

// String names the store.
func (s *Store) String() string { return "file://" + filepath.ToSlash(s.dir) }

// Close closes the directory.
func (s *Store) Close() error { return s.root.Close() }

// begin checks a call.
func (s *Store) begin(ctx context.Context, op string, keys ...string) error {
	for _, key := range keys {
		if err := storage.CheckKey(key); err != nil {
			return err
		}
		if reserved(key) {
			return &storage.Error{
				Op: op, Key: key, Store: s.String(), Err: errors.New("the name is reserved for the store's own files"),
				Remedy: fmt.Sprintf("use no part that is %q or looks like %q", tempDir, versionName(1)),
			}
		}
	}
	if len(keys) == 0 {
		return nil
	}
	if err := ctx.Err(); err != nil {
		return s.fail(op, keys[0], err)
	}
	return nil
}

// beginWrite checks a call that writes.
func (s *Store) beginWrite(ctx context.Context, op string, keys ...string) error {
	if err := s.begin(ctx, op, keys...); err != nil {
		return err
	}
	if s.readOnly {
		return &storage.Error{Op: op, Store: s.String(), Err: errors.New("the store was opened to be read only")}
	}
	return nil
}

func reserved(key string) bool {
	for part := range strings.SplitSeq(key, "/") {
		if _, ok := parseVersion(part); ok || part == tempDir {
			return true
		}
	}
	return false
}

// fail gives the error of a call its type. Causes of the file system lose their path, which the key says already.
func (s *Store) fail(op, key string, cause error) error {
	if cause == nil {
		return nil
	}
	if errors.Is(cause, fs.ErrNotExist) || errors.Is(cause, syscall.ENOTDIR) {
		cause = fmt.Errorf("%w (%w)", storage.ErrNotFound, bare(cause))
	}
	return storage.Describe(op, key, s.String(), bare(cause))
}

func bare(cause error) error {
	if e, ok := errors.AsType[*fs.PathError](cause); ok && e.Error() == cause.Error() {
		return e.Err
	}
	if e, ok := errors.AsType[*os.LinkError](cause); ok && e.Error() == cause.Error() {
		return e.Err
	}
	return cause
}

// Get implements storage.Reader.
func (s *Store) Get(ctx context.Context, key string) ([]byte, string, error) {
	const op = "reading"
	if err := s.begin(ctx, op, key); err != nil {
		return nil, "", err
	}
	var data []byte
	version, err := s.read(key, func(f *os.File, info fs.FileInfo) (err error) {
		data = make([]byte, 0, info.Size()+1)
		buf := bytes.NewBuffer(data)
		_, err = buf.ReadFrom(f)
		data = buf.Bytes()
		return err
	})
	if err != nil {
		return nil, "", s.fail(op, key, err)
	}
	return data, version, nil
}

// GetRange implements storage.Reader.
func (s *Store) GetRange(ctx context.Context, key string, off, length int64) ([]byte, error) {
	const op = "reading"
	if err := s.begin(ctx, op, key); err != nil {
		return nil, err
	}
	if off < 0 {
		return nil, s.fail(op, key, fmt.Errorf("the offset %d is negative", off))
	}
	var data []byte
	_, err := s.read(key, func(f *os.File, info fs.FileInfo) error {
		rest := max(info.Size()-off, 0)
		if length >= 0 {
			rest = min(rest, length)
		}
		data = make([]byte, rest)
		n, err := f.ReadAt(data, off)
		data = data[:n]
		if errors.Is(err, io.EOF) {
			return nil // the file became shorter: it is not ours
		}
		return err
	})
	if err != nil {
		return nil, s.fail(op, key, err)
	}
	return data, nil
}

// read opens the file of an object, hands it to fn and returns the object's version.
func (s *Store) read(key string, fn func(*os.File, fs.FileInfo) error) (version string, err error) {
	f, info, err := s.open(key)
	if err != nil {
		return "", err
	}
	if !info.IsDir() {
		defer f.Close()
		return plainVersion(info), fn(f, info)
	}
	_ = f.Close()
	for {
		seq, err := s.highest(key)
		if err != nil {
			return "", err
		}
		if seq == 0 {
			return "", storage.ErrNotFound // a directory, or a swap that didn't come to its first version
		}
		f, info, err := s.open(key + "/" + versionName(seq))
		if errors.Is(err, fs.ErrNotExist) {
			continue // swapped many times over since, or deleted: the next look says which
		}
		if err != nil {
			return "", err
		}
		defer f.Close()
		return formatSeq(seq), fn(f, info)
	}
}

func (s *Store) open(key string) (*os.File, fs.FileInfo, error) {
	// O_NONBLOCK: a pipe in a directory of the user's must not block the read for ever.
	f, err := s.root.OpenFile(key, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.IsDir() && !info.Mode().IsRegular() {
		err = fmt.Errorf("it is not a regular file but %s", info.Mode().Type())
	}
	if err != nil {
		_ = f.Close()
		return nil, nil, err
	}
	return f, info, nil
}

// plainVersion of an immutable object. It matters for files that others write: it changes with them.
func plainVersion(info fs.FileInfo) string {
	return fmt.Sprintf("file-%d-%d", info.ModTime().UnixNano(), info.Size())
}

// Delete implements storage.Writer.
func (s *Store) Delete(ctx context.Context, keys ...string) error {
	const op = "deleting"
	if err := s.beginWrite(ctx, op, keys...); err != nil {
		return err
	}
	var errs []error
	var dirs []string // that objects were deleted from
	for _, key := range keys {
		if err := ctx.Err(); err != nil {
			errs = append(errs, s.fail(op, key, err))
			break
		}
		switch deleted, err := s.delete(key); {
		case err != nil:
			errs = append(errs, s.fail(op, key, err))
		case deleted && !slices.Contains(dirs, path.Dir(key)):
			dirs = append(dirs, path.Dir(key))
		}
	}
	// The objects of a checkpoint are in one directory, which has to be looked at and flushed once only.
	for _, dir := range dirs {
		if err := s.prune(dir); err != nil {
			errs = append(errs, s.fail(op, dir, err))
		}
	}
	return errors.Join(errs...)
}

// delete deletes an object, and says whether it was there. That it is gone is not durable before its directory is.
func (s *Store) delete(key string) (bool, error) {
	info, err := s.root.Lstat(key)
	switch {
	case errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR):
		return false, nil
	case err != nil:
		return false, err
	case info.IsDir():
		return s.deleteVersions(key)
	}
	if err := s.remove(key, info); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	return true, nil
}

// prune removes directories that have become empty: keys have no directories, files do.
func (s *Store) prune(dir string) error {
	for ; dir != "."; dir = path.Dir(dir) {
		if s.root.Remove(dir) != nil {
			break // not empty, or gone already
		}
	}
	return ignoreMissing(s.syncDir(dir))
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// Promote implements storage.Writer.
func (s *Store) Promote(ctx context.Context, src, dst string) error {
	const op = "promoting"
	if err := s.beginWrite(ctx, op, src, dst); err != nil {
		return err
	}
	return s.fail(op, src+" to "+dst, s.promote(src, dst))
}

func (s *Store) promote(src, dst string) error {
	info, err := s.root.Lstat(src)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return s.exists(dst)
	}
	if err == nil && !info.Mode().IsRegular() {
		err = errors.New("the source is not an immutable object")
	}
	if err != nil {
		return err
	}
	if src == dst {
		return nil
	}
	switch err := s.bind(s.root.Link, src, dst); {
	case errors.Is(err, fs.ErrExist):
		same, err := s.same(src, dst)
		if errors.Is(err, fs.ErrNotExist) {
			return s.exists(dst) // another Promote of the same object has come to its end meanwhile
		}
		if err != nil || !same {
			return errors.Join(storage.ErrExists, err)
		}
		if err := s.syncDir(path.Dir(dst)); err != nil {
			return err // who linked it may have died before this
		}
	case errors.Is(err, fs.ErrNotExist):
		// Another Promote of the same object came first.
		return s.exists(dst)
	case err != nil:
		return err
	}
	if deleted, err := s.delete(src); err != nil || !deleted {
		return err
	}
	return s.prune(path.Dir(src))
}

func (s *Store) exists(key string) error {
	info, err := s.root.Stat(key)
	if err == nil && !info.Mode().IsRegular() {
		err = storage.ErrNotFound
	}
	return err
}

// same compares two files.
func (s *Store) same(a, b string) (bool, error) {
	fa, ia, err := s.open(a)
	if err != nil {
		return false, err
	}
	defer fa.Close()
	fb, ib, err := s.open(b)
	if err != nil {
		return false, err
	}
	defer fb.Close()
	if os.SameFile(ia, ib) {
		return true, nil
	}
	if ia.Size() != ib.Size() || ib.IsDir() {
		return false, nil
	}
	return sameBytes(fa, fb)
}

func sameBytes(a, b io.Reader) (bool, error) {
	bufA, bufB := make([]byte, 1<<16), make([]byte, 1<<16)
	for {
		n, errA := io.ReadFull(a, bufA)
		m, errB := io.ReadFull(b, bufB)
		if !bytes.Equal(bufA[:n], bufB[:m]) {
			return false, nil
		}
		switch {
		case errA == nil && errB == nil:
		case ended(errA) && ended(errB):
			return true, nil
		default:
			return false, errors.Join(errA, errB)
		}
	}
}

func ended(err error) bool { return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) }
