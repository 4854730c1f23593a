// SPDX-License-Identifier: Apache-2.0

package filestore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/weir-stream/weir/runtime/storage"
)

// keepVersions is how many versions of a swapped object stay. A writer that creates a number and then sees this many
// above it, or more, can't know whether it was first or created a number that had been cleaned up.
const keepVersions = 16

const versionPrefix = "version-"

// seqDigits is the length of the largest number, so that names sort as numbers.
const seqDigits = 20

func versionName(seq uint64) string { return fmt.Sprintf("%s%0*d", versionPrefix, seqDigits, seq) }

func formatSeq(seq uint64) string { return strconv.FormatUint(seq, 10) }

// parseVersion returns the number in the name of a version file.
func parseVersion(name string) (uint64, bool) {
	digits, ok := strings.CutPrefix(name, versionPrefix)
	if !ok || len(digits) != seqDigits {
		return 0, false
	}
	seq, err := strconv.ParseUint(digits, 10, 64)
	return seq, err == nil && seq > 0
}

// Swap implements storage.Swapper.
func (s *Store) Swap(ctx context.Context, key string, data []byte, expected string) (string, error) {
	const op = "swapping"
	if err := s.beginWrite(ctx, op, key); err != nil {
		return "", err
	}
	seq, err := s.swap(key, data, expected)
	if err != nil {
		return "", s.fail(op, key, err)
	}
	return formatSeq(seq), nil
}

func (s *Store) swap(key string, data []byte, expected string) (uint64, error) {
	last, err := s.lastVersion(key, expected)
	if err != nil {
		return 0, err
	}
	own := last + 1
	temp, err := s.writeTemp(data)
	if err != nil {
		return 0, err
	}
	defer func() { _ = s.root.Remove(temp) }()
	if last == 0 {
		if err := s.makeDirs(key); err != nil {
			return 0, s.blocked(key, err)
		}
		err = s.bind(s.give, temp, key+"/"+versionName(own))
	} else if err = s.give(temp, key+"/"+versionName(own)); err == nil {
		err = s.syncDir(key)
		if err != nil {
			err = fmt.Errorf("%w: flushing the directory: %w", storage.ErrUnknownOutcome, err)
		}
	}
	switch {
	case errors.Is(err, fs.ErrExist), errors.Is(err, fs.ErrNotExist):
		return 0, storage.ErrPrecondition
	case err != nil:
		return 0, s.blocked(key, err)
	}
	return own, s.settle(key, own)
}

// blocked tells an immutable object of the key's name, which has no expected version, from one of a directory's name.
func (s *Store) blocked(key string, err error) error {
	if !errors.Is(err, syscall.ENOTDIR) && !errors.Is(err, errBlocked) {
		return err
	}
	if info, statErr := s.root.Lstat(key); statErr == nil && !info.IsDir() {
		return storage.ErrPrecondition
	}
	return errBlocked
}

// lastVersion returns the number that expected stands for, if it is the highest.
func (s *Store) lastVersion(key, expected string) (uint64, error) {
	var want uint64
	if expected != "" {
		seq, err := strconv.ParseUint(expected, 10, 64)
		if err != nil {
			return 0, storage.ErrPrecondition // a version of an immutable object, or of another store
		}
		want = seq
	}
	last, err := s.highest(key)
	switch {
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return 0, s.blocked(key, err)
	case last != want:
		return 0, storage.ErrPrecondition
	}
	return last, nil
}

// settle looks at what happened around a version that was just created, and removes old ones.
func (s *Store) settle(key string, own uint64) error {
	seqs, err := s.versions(key)
	if err != nil {
		return fmt.Errorf("%w: listing the versions: %w", storage.ErrUnknownOutcome, err)
	}
	highest := own
	if len(seqs) > 0 {
		highest = max(own, slices.Max(seqs))
	}
	if highest-own >= keepVersions {
		return fmt.Errorf("%w: %d newer versions are there", storage.ErrUnknownOutcome, highest-own)
	}
	for _, seq := range seqs {
		if seq+keepVersions <= highest {
			_ = s.root.Remove(key + "/" + versionName(seq)) // what stays is removed by the next swap
		}
	}
	return nil
}

// versions returns the numbers of the versions of a swapped object, in no order.
func (s *Store) versions(key string) ([]uint64, error) {
	dir, err := s.openDir(key)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	var seqs []uint64
	for {
		names, err := dir.Readdirnames(1024)
		for _, name := range names {
			if seq, ok := parseVersion(name); ok {
				seqs = append(seqs, seq)
			}
		}
		if errors.Is(err, io.EOF) {
			return seqs, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

// highest returns the number of the newest version, or 0.
func (s *Store) highest(key string) (uint64, error) {
	seqs, err := s.versions(key)
	if err != nil || len(seqs) == 0 {
		return 0, err
	}
	return slices.Max(seqs), nil
}

// deleteVersions deletes a swapped object. It says false when the key is only a directory.
func (s *Store) deleteVersions(key string) (bool, error) {
	seqs, err := s.versions(key)
	if err != nil || len(seqs) == 0 {
		return false, ignoreMissing(err)
	}
	slices.Sort(seqs) // the newest last: until then the object is what it was
	for _, seq := range seqs {
		if err := s.root.Remove(key + "/" + versionName(seq)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return false, err
		}
	}
	if err := s.root.Remove(key); err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTEMPTY) {
		return false, err
	}
	return true, ignoreMissing(s.syncDir(path.Dir(key)))
}
