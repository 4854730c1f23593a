// SPDX-License-Identifier: Apache-2.0

package s3store

import (
	"bytes"
	"context"
	"crypto/md5" //nolint:gosec // what servers make ETags with
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/minio/minio-go/v7"

	"github.com/weir-stream/weir/runtime/storage"
)

// pageSize is how many objects are listed with one request.
const pageSize = 1000

// Get implements storage.Reader.
func (s *Store) Get(ctx context.Context, key string) (data []byte, version string, err error) {
	full, err := s.full(key)
	if err != nil {
		return nil, "", err
	}
	err = s.repeat(ctx, "reading", key, func(ctx context.Context) error {
		before, beforeVersion := data, version
		data, version, err = s.fetch(ctx, full, minio.GetObjectOptions{})
		if err != nil || matches(data, version) {
			return err
		}
		if version == beforeVersion && bytes.Equal(data, before) {
			return nil // it stays so: the server makes its ETags in another way
		}
		return errTorn
	})
	if err != nil {
		return nil, "", err
	}
	return data, version, nil
}

// maxChecked is the size up to which bytes are held against their ETag. Swapped objects are smaller.
const maxChecked = 1 << 20

// errTorn is an answer whose bytes and ETag are of different versions, as a server gives that keeps them apart and
// is asked during a write. A swap of such a version would undo the write.
var errTorn = errors.New("the bytes and the ETag of the object are of different versions")

// matches says whether bytes have the ETag, as far as that can be seen: most ETags are the MD5 of the bytes.
func matches(data []byte, etag string) bool {
	sum, err := hex.DecodeString(etag)
	if len(data) > maxChecked || err != nil || len(sum) != md5.Size {
		return true
	}
	own := md5.Sum(data) //nolint:gosec // what servers use
	return bytes.Equal(own[:], sum)
}

// GetRange implements storage.Reader.
func (s *Store) GetRange(ctx context.Context, key string, off, length int64) ([]byte, error) {
	return s.GetRangeInto(ctx, key, off, length, nil)
}

// GetRangeInto implements [storage.BufferReader]: the bytes are in buf if it has room for all that the server sends.
func (s *Store) GetRangeInto(ctx context.Context, key string, off, length int64, buf []byte) (data []byte, err error) {
	full, err := s.full(key)
	if err != nil {
		return nil, err
	}
	if off < 0 {
		return nil, s.fail("reading", key, fmt.Errorf("the offset %d is negative", off))
	}
	var opts minio.GetObjectOptions
	switch {
	case length == 0:
		opts.Set("Range", "bytes=0-0") // only to see whether the object is there
	case length > 0:
		opts.Set("Range", fmt.Sprintf("bytes=%d-%d", off, off+length-1))
	case off > 0:
		opts.Set("Range", fmt.Sprintf("bytes=%d-", off))
	}
	err = s.repeat(ctx, "reading", key, func(ctx context.Context) (err error) {
		data, _, err = s.fetchInto(ctx, full, opts, buf)
		if outOfRange(err) {
			data, err = nil, nil // at or behind the end
		}
		return err
	})
	if length == 0 || err != nil {
		return nil, err
	}
	return data, nil
}

// fetch reads the body of one answer.
func (s *Store) fetch(ctx context.Context, full string, opts minio.GetObjectOptions) (data []byte, version string, err error) {
	return s.fetchInto(ctx, full, opts, nil)
}

// fetchInto is fetch into memory that is there, if that has room for the body.
func (s *Store) fetchInto(ctx context.Context, full string, opts minio.GetObjectOptions, into []byte) (data []byte, version string, err error) {
	body, info, header, err := s.core.GetObject(ctx, s.bucket, full, opts)
	if err != nil {
		return nil, "", err
	}
	defer body.Close()
	extend(ctx, info.Size)
	if data, err = readBody(body, info.Size, into); err != nil {
		return nil, "", err
	}
	switch {
	case info.Size >= 0 && header.Get("Content-Length") != "" && int64(len(data)) != info.Size:
		return nil, "", fmt.Errorf("%d of %d bytes came: %w", len(data), info.Size, io.ErrUnexpectedEOF)
	case info.ETag == "":
		return nil, "", errNoETag
	}
	return data, info.ETag, nil
}

// readBody reads to the end, which is behind size bytes if that is positive; into memory that is there, if that has room.
func readBody(body io.Reader, size int64, into []byte) ([]byte, error) {
	if size > 0 && int64(cap(into)) >= size {
		n, err := io.ReadFull(body, into[:size])
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return into[:n], err
	}
	var buf bytes.Buffer
	if size > 0 {
		buf.Grow(int(size) + bytes.MinRead)
	}
	_, err := buf.ReadFrom(body)
	return buf.Bytes(), err
}

var errNoETag = errors.New("the server gives no ETag, which conditional writes need")

// stat returns size and ETag. The answer to a HEAD has no body, so that any 404 looks like a missing object: a GET has
// the server say which it is.
func (s *Store) stat(ctx context.Context, full string) (info minio.ObjectInfo, err error) {
	err = s.attempts(ctx, func(ctx context.Context) (err error) {
		info, err = s.core.StatObject(ctx, s.bucket, full, minio.StatObjectOptions{})
		if !isMissing(err) {
			return err
		}
		var opts minio.GetObjectOptions
		opts.Set("Range", "bytes=0-0")
		if _, _, getErr := s.fetch(ctx, full, opts); getErr != nil && !outOfRange(getErr) {
			return getErr
		}
		return errAppeared
	})
	return info, err
}

// errAppeared is an object that was missing a moment ago.
var errAppeared = errors.New("the object has just appeared")

func outOfRange(err error) bool {
	return response(err).StatusCode == http.StatusRequestedRangeNotSatisfiable
}

// List implements storage.Lister.
func (s *Store) List(ctx context.Context, prefix string, fn func(storage.Object) error) error {
	if err := storage.CheckPrefix(prefix); err != nil {
		return err
	}
	after := ""
	for {
		page, err := s.page(ctx, prefix, after)
		if err != nil {
			return err
		}
		for _, object := range page {
			after = object.Key
			key, ok := strings.CutPrefix(object.Key, s.prefix)
			if !ok || key == "" || strings.HasSuffix(key, "/") {
				continue // a marker that other programs make to show a directory
			}
			if err := fn(storage.Object{Key: key, Size: object.Size, ModTime: object.LastModified}); err != nil {
				return err
			}
		}
		if len(page) < pageSize {
			return nil
		}
	}
}

// page lists the next objects. The time limit is for each page, not for what the caller does in between.
func (s *Store) page(ctx context.Context, prefix, after string) (page []minio.ObjectInfo, err error) {
	opts := minio.ListObjectsOptions{Prefix: s.prefix + prefix, Recursive: true, MaxKeys: pageSize, StartAfter: after}
	err = s.repeat(ctx, "listing", prefix, func(ctx context.Context) error {
		page = page[:0]
		for object := range s.core.ListObjectsIter(ctx, s.bucket, opts) {
			if object.Err != nil {
				return object.Err
			}
			if page = append(page, object); len(page) == pageSize {
				break
			}
		}
		return ctx.Err() // a canceled listing ends early without saying so
	})
	return page, err
}
