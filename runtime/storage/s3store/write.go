// SPDX-License-Identifier: Apache-2.0

package s3store

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"

	"github.com/minio/minio-go/v7"

	"github.com/weir-stream/weir/runtime/storage"
)

// compareChunk is how much of two objects is compared at a time.
const compareChunk = 8 << 20

// errVanished says that a server has lost what it had acknowledged.
var errVanished = errors.New("the server said that it had created the object, but doesn't have it: look into its file system and its log")

// anyETag is the ETag that stands for every object.
const anyETag = "*"

// PutIfAbsent implements storage.Writer.
//
// A write whose answer is lost is repeated, and so is one whose object is nowhere afterwards. When that is refused since there is an object, the object is read: with
// the same bytes the write counts as done, though another writer of the same bytes would look alike.
func (s *Store) PutIfAbsent(ctx context.Context, key string, data []byte) error {
	const op = "creating"
	full, err := s.full(key)
	if err != nil {
		return err
	}
	var opts minio.PutObjectOptions
	opts.SetMatchETagExcept(anyETag)
	ctx, cancel := s.limit(ctx, int64(len(data)))
	defer cancel()
	lost := false
	err = s.attempts(ctx, func(ctx context.Context) error {
		_, err := s.put(ctx, full, data, opts)
		if err == nil && s.vanished(ctx, full) {
			err = errVanished
		}
		lost = lost || maybeDone(err) || errors.Is(err, errVanished)
		if response(err).Code == minio.AccessDenied {
			err = chanceError{err}
		}
		return err
	})
	switch {
	case refused(err) && !lost:
		err = storage.ErrExists
	case refused(err):
		err = s.compareLost(ctx, full, data)
	case err != nil && lost:
		err = fmt.Errorf("%w: %w", storage.ErrUnknownOutcome, err)
	}
	return s.fail(op, key, err)
}

// compareLost says what an object that appeared during lost writes is.
func (s *Store) compareLost(ctx context.Context, full string, data []byte) error {
	var found []byte
	err := s.attempts(ctx, func(ctx context.Context) (err error) {
		found, _, err = s.fetch(ctx, full, minio.GetObjectOptions{})
		return err
	})
	switch {
	case err != nil:
		return fmt.Errorf("%w: reading it back: %w", storage.ErrUnknownOutcome, err)
	case !bytes.Equal(found, data):
		return storage.ErrExists
	}
	return nil
}

// Swap implements storage.Swapper. The version is the object's ETag.
func (s *Store) Swap(ctx context.Context, key string, data []byte, expected string) (version string, err error) {
	const op = "swapping"
	full, err := s.full(key)
	if err != nil {
		return "", err
	}
	var opts minio.PutObjectOptions
	if expected == "" {
		opts.SetMatchETagExcept(anyETag)
	} else {
		opts.SetMatchETag(expected)
	}
	ctx, cancel := s.limit(ctx, int64(len(data)))
	defer cancel()
	err = s.attempts(ctx, func(ctx context.Context) (err error) {
		version, err = s.put(ctx, full, data, opts)
		if err == nil && expected == "" && s.vanished(ctx, full) {
			err = errVanished
		}
		if maybeDone(err) || errors.Is(err, errVanished) {
			err = lostError{err} // not repeated
		}
		return err
	})
	switch {
	case err == nil && version == "":
		err = fmt.Errorf("%w: %w", storage.ErrUnknownOutcome, errNoETag)
	case refused(err), expected != "" && isMissing(err):
		err = storage.ErrPrecondition
	case maybeDone(err), errors.Is(err, errVanished):
		err = fmt.Errorf("%w: %w", storage.ErrUnknownOutcome, err)
	}
	if err != nil {
		return "", s.fail(op, key, err)
	}
	return version, nil
}

// vanished says that the server doesn't have an object that it has just said to have created. VersityGW 1.8 does that: it keeps objects as files, and
// deletes a directory with its last object. Should that happen while another request makes the same directory for its own object, a third one takes the
// error of its mkdir for an object that exists, and reports success. An answer that can't be had counts as that the object is there. Amazon's server
// keeps no directories, and isn't asked.
func (s *Store) vanished(ctx context.Context, full string) bool {
	if s.amazon {
		return false
	}
	_, err := s.stat(ctx, full)
	return isMissing(err)
}

// put makes one request.
func (s *Store) put(ctx context.Context, full string, data []byte, opts minio.PutObjectOptions) (string, error) {
	opts.DisableContentSha256 = true // of chunks: the sum of the whole is signed instead
	opts.ContentType = "application/octet-stream"
	sum := sha256.Sum256(data)
	info, err := s.core.PutObject(ctx, s.bucket, full, bytes.NewReader(data), int64(len(data)), "", hex.EncodeToString(sum[:]), opts)
	return info.ETag, err
}

// Delete implements storage.Writer.
func (s *Store) Delete(ctx context.Context, keys ...string) error {
	const op = "deleting"
	fulls := make([]string, len(keys))
	for i, key := range keys {
		full, err := s.full(key)
		if err != nil {
			return err
		}
		fulls[i] = full
	}
	switch len(keys) {
	case 0:
		return nil
	case 1:
		return s.repeat(ctx, op, keys[0], func(ctx context.Context) error { return s.remove(ctx, fulls[0]) })
	}
	name := fmt.Sprintf("%s and %d more", keys[0], len(keys)-1)
	for ; len(fulls) > 0; fulls = fulls[min(pageSize, len(fulls)):] {
		some := fulls[:min(pageSize, len(fulls))]
		if err := s.repeat(ctx, op, name, func(ctx context.Context) error { return s.removeMany(ctx, some) }); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) remove(ctx context.Context, full string) error {
	err := s.core.RemoveObject(ctx, s.bucket, full, minio.RemoveObjectOptions{})
	if isMissing(err) {
		return nil
	}
	return err
}

func (s *Store) removeMany(ctx context.Context, fulls []string) error {
	objects := func(yield func(minio.ObjectInfo) bool) {
		for _, full := range fulls {
			if !yield(minio.ObjectInfo{Key: full}) {
				return
			}
		}
	}
	results, err := s.core.RemoveObjectsWithIter(ctx, s.bucket, objects, minio.RemoveObjectsOptions{})
	if err != nil {
		return err
	}
	for result := range results {
		if result.Err != nil && !isMissing(result.Err) {
			return result.Err
		}
	}
	return ctx.Err()
}

// Promote implements storage.Writer: the server copies, then the source is deleted. Where the server honors
// conditions on copies, a racing writer of dst is never overwritten; elsewhere only one that was there before.
func (s *Store) Promote(ctx context.Context, src, dst string) error {
	const op = "promoting"
	from, err := s.full(src)
	if err != nil {
		return err
	}
	to, err := s.full(dst)
	if err != nil {
		return err
	}
	ctx, cancel := s.limit(ctx, 0)
	defer cancel()
	return s.fail(op, src+" to "+dst, s.promote(ctx, from, to))
}

func (s *Store) promote(ctx context.Context, from, to string) error {
	source, err := s.stat(ctx, from)
	if isMissing(err) {
		_, err = s.stat(ctx, to)
		return err
	}
	if err != nil || from == to {
		return err
	}
	extend(ctx, source.Size)
	target, err := s.stat(ctx, to)
	if isMissing(err) {
		err = s.attempts(ctx, func(ctx context.Context) error { return s.copy(ctx, from, to, source.ETag) })
		if err != nil && !refused(err) && !isMissing(err) {
			return err
		}
		// Copied, or another Promote was here meanwhile: what is there now counts.
		target, err = s.stat(ctx, to)
	}
	if err != nil {
		return err
	}
	same, err := s.same(ctx, source, target)
	switch {
	case isMissing(err):
		return nil // the source was deleted by another Promote of it, which had made sure of the target
	case err != nil:
		return err
	case !same:
		return storage.ErrExists
	}
	return s.attempts(ctx, func(ctx context.Context) error { return s.remove(ctx, from) })
}

func (s *Store) copy(ctx context.Context, from, to, etag string) error {
	headers := map[string]string{"If-None-Match": anyETag, "x-amz-copy-source-if-match": `"` + etag + `"`}
	info, err := s.core.CopyObject(ctx, s.bucket, from, s.bucket, to, headers, minio.CopySrcOptions{}, minio.PutObjectOptions{})
	if err == nil && info.ETag == "" {
		err = errors.New("the server did not confirm the copy")
	}
	return err
}

// same compares two objects.
func (s *Store) same(ctx context.Context, a, b minio.ObjectInfo) (bool, error) {
	if a.Size != b.Size {
		return false, nil
	}
	if a.ETag == b.ETag {
		return true, nil
	}
	for off := int64(0); off < a.Size; off += compareChunk {
		var opts minio.GetObjectOptions
		opts.Set("Range", fmt.Sprintf("bytes=%d-%d", off, min(off+compareChunk, a.Size)-1))
		var parts [2][]byte
		for i, key := range []string{a.Key, b.Key} {
			err := s.attempts(ctx, func(ctx context.Context) (err error) {
				parts[i], _, err = s.fetch(ctx, key, opts)
				return err
			})
			if err != nil {
				return false, err
			}
		}
		if !bytes.Equal(parts[0], parts[1]) {
			return false, nil
		}
	}
	return true, nil
}

// refused says that a condition was not met.
func refused(err error) bool {
	return response(err).StatusCode == http.StatusPreconditionFailed
}

// isMissing says that there is no such object. It goes by the code: some servers answer 404 to an unknown access key too.
func isMissing(err error) bool { return response(err).Code == minio.NoSuchKey }
