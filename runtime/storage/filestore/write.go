// SPDX-License-Identifier: Apache-2.0

package filestore

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"
	"syscall"

	"github.com/weir-stream/weir/runtime/storage"
)

// PutIfAbsent implements storage.Writer.
func (s *Store) PutIfAbsent(ctx context.Context, key string, data []byte) error {
	const op = "creating"
	if err := s.beginWrite(ctx, op, key); err != nil {
		return err
	}
	err := s.create(key, data)
	if errors.Is(err, fs.ErrExist) {
		// What a Swap left that died before its first version is no object, and neither is an empty directory.
		if s.removeEmptyDir(key) {
			err = s.create(key, data)
		}
	}
	if errors.Is(err, fs.ErrExist) {
		err = s.explainExisting(key)
	}
	return s.fail(op, key, err)
}

func (s *Store) removeEmptyDir(key string) bool {
	info, err := s.root.Lstat(key)
	return err == nil && info.IsDir() && s.root.Remove(key) == nil
}

func (s *Store) explainExisting(key string) error {
	if info, err := s.root.Lstat(key); err == nil && info.IsDir() {
		if seq, err := s.highest(key); err == nil && seq == 0 {
			return fmt.Errorf("%w: it is a directory with other objects in it", storage.ErrExists)
		}
	}
	return storage.ErrExists
}

// create writes a file whole and durable under a name that must be free.
func (s *Store) create(name string, data []byte) error {
	temp, err := s.writeTemp(data)
	if err != nil {
		return err
	}
	defer func() { _ = s.root.Remove(temp) }() // if it is still there; what stays of it, a later Open removes
	return s.bind(s.give, temp, name)
}

// give gives a temporary file a name that must be free. Where that can be, it is moved there in one step: a link, and the removal of the other name, would be two
// changes of directories, each of which may have to wait for a flush.
func (s *Store) give(temp, name string) error {
	from, err := s.openDir(path.Dir(temp))
	if err != nil {
		return err
	}
	defer from.Close()
	to, err := s.openDir(path.Dir(name))
	if err != nil {
		return err
	}
	defer to.Close()
	if moved, err := moveNew(from, path.Base(temp), to, path.Base(name)); moved || err != nil {
		return err
	}
	return s.root.Link(temp, name)
}

// writeTemp writes a flushed temporary file and returns its name.
func (s *Store) writeTemp(data []byte) (name string, err error) {
	name = tempDir + "/" + rand.Text()
	f, err := s.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, fileMode)
	if errors.Is(err, fs.ErrNotExist) {
		if err := s.root.Mkdir(tempDir, dirMode); err != nil && !errors.Is(err, fs.ErrExist) {
			return "", err
		}
		f, err = s.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, fileMode)
	}
	if err != nil {
		return "", err
	}
	if err = writeAll(f, data); err == nil {
		err = flush(f)
	}
	if err = errors.Join(err, f.Close()); err != nil {
		_ = s.root.Remove(name)
		return "", unjoin(err)
	}
	return name, nil
}

// unjoin takes a single error out of a join, for a plainer message.
func unjoin(err error) error {
	if j, ok := err.(interface{ Unwrap() []error }); ok {
		if list := j.Unwrap(); len(list) == 1 {
			return list[0]
		}
	}
	return err
}

// errBlocked is what a file system has and object stores don't.
var errBlocked = errors.New("a part of the path is an object, so that no directory can be made there")

// makeDirTries bounds how often a directory is made again that a deletion beside this has pruned.
const makeDirTries = 20

// bind gives a file its name for good, by give, makes the directories of the name and flushes them.
func (s *Store) bind(give func(from, name string) error, from, name string) error {
	dir := path.Dir(name)
	err := give(from, name)
	for range makeDirTries {
		if !errors.Is(err, fs.ErrNotExist) {
			break
		}
		if _, statErr := s.root.Lstat(from); statErr != nil {
			return statErr
		}
		if err = s.makeDirs(dir); err == nil || errors.Is(err, fs.ErrNotExist) {
			err = give(from, name)
		}
	}
	switch {
	case err == nil:
		return s.syncDir(dir)
	case errors.Is(err, syscall.EPERM), errors.Is(err, syscall.EOPNOTSUPP), errors.Is(err, syscall.EMLINK):
		return fmt.Errorf("the file system makes no hard links, which creating an object needs: use another one: %w", bare(err))
	case errors.Is(err, syscall.ENOTDIR):
		return errBlocked
	}
	return err
}

// makeDirs makes a directory and those above it; each is durable before the next is made in it.
func (s *Store) makeDirs(dir string) error {
	if dir == "." {
		return nil
	}
	done := ""
	for part := range strings.SplitSeq(dir, "/") {
		above := path.Dir(path.Join(done, part))
		done = path.Join(done, part)
		switch err := s.root.Mkdir(done, dirMode); {
		case errors.Is(err, fs.ErrExist):
		case err != nil:
			return err
		default:
			if err := s.syncDir(above); err != nil {
				return err
			}
		}
	}
	return nil
}

// syncDir makes the names in a directory durable.
func (s *Store) syncDir(dir string) error {
	f, err := s.openDir(dir)
	if err != nil {
		return err
	}
	err = flush(f)
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.ENOTSUP) {
		err = nil // a file system that flushes no directories keeps names by itself
	}
	return unjoin(errors.Join(err, f.Close()))
}

// openDir opens a directory, and does not wait for whoever opens the other end of what is none.
func (s *Store) openDir(dir string) (*os.File, error) {
	return s.root.OpenFile(dir, os.O_RDONLY|syscall.O_NONBLOCK, 0)
}
