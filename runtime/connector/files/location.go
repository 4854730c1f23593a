// SPDX-License-Identifier: Apache-2.0

package files

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/weir-stream/weir/runtime/contract"
	"github.com/weir-stream/weir/runtime/operator"
	"github.com/weir-stream/weir/runtime/storage"
	"github.com/weir-stream/weir/runtime/storage/open"
	"github.com/weir-stream/weir/runtime/task"
)

const s3Scheme = "s3://"

// opener opens stores; tests put their own in its place.
type opener func(ctx context.Context, cfg storage.Config) (storage.Store, error)

func orDefault(o opener) opener {
	if o == nil {
		return open.Open
	}
	return o
}

// isS3 says whether a path names a bucket.
func isS3(path string) bool { return strings.HasPrefix(path, s3Scheme) }

// splitS3 returns bucket and key of s3://bucket/key.
func splitS3(path string) (bucket, key string, err error) {
	bucket, key, _ = strings.Cut(strings.TrimPrefix(path, s3Scheme), "/")
	if bucket == "" {
		return "", "", fmt.Errorf("path %q names no bucket: write it as s3://bucket/prefix", path)
	}
	return bucket, strings.Trim(key, "/"), nil
}

// s3Config returns how to reach a bucket: as settings say, or else the environment.
func s3Config(bucket, prefix string, settings *contract.S3) *storage.S3Config {
	c := &storage.S3Config{Bucket: bucket, Prefix: prefix}
	if settings == nil {
		c.Endpoint = firstOf(os.Getenv("AWS_ENDPOINT_URL_S3"), os.Getenv("AWS_ENDPOINT_URL"))
		c.Region = firstOf(os.Getenv("AWS_REGION"), os.Getenv("AWS_DEFAULT_REGION"))
		return c
	}
	c.Endpoint, c.Region = settings.Endpoint, settings.Region
	return c
}

// checkBucket refuses settings of an operator that name another bucket than its path.
func checkBucket(path string, settings *contract.S3) error {
	if settings == nil || settings.Bucket == "" || !isS3(path) {
		return nil
	}
	bucket, _, err := splitS3(path)
	if err == nil && bucket != settings.Bucket {
		err = fmt.Errorf("path %q names the bucket %q, but s3.bucket is %q: leave s3.bucket out", path, bucket, settings.Bucket)
	}
	return err
}

func firstOf(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}

// output returns the store for the files of a sink.
func output(path string, settings *contract.S3) (storage.Config, error) {
	switch {
	case path == "":
		return storage.Config{}, errors.New("path is empty: give a directory or s3://bucket/prefix")
	case isS3(path):
		bucket, prefix, err := splitS3(path)
		if err != nil {
			return storage.Config{}, err
		}
		return storage.Config{S3: s3Config(bucket, prefix, settings)}, nil
	}
	return open.Parse(path)
}

// address writes a configuration so that parseAddress understands it, also in another process.
func address(cfg storage.Config) (string, error) {
	switch {
	case cfg.S3 != nil:
		u := url.URL{Scheme: "s3", Host: cfg.S3.Bucket, Path: "/" + cfg.S3.Prefix}
		q := url.Values{}
		if cfg.S3.Endpoint != "" {
			q.Set("endpoint", cfg.S3.Endpoint)
		}
		if cfg.S3.Region != "" {
			q.Set("region", cfg.S3.Region)
		}
		u.RawQuery = q.Encode()
		return u.String(), nil
	case cfg.Memory != nil:
		return "memory://" + cfg.Memory.Name, nil
	case cfg.File != nil:
		dir, err := filepath.Abs(cfg.File.Dir)
		if err != nil {
			return "", fmt.Errorf("finding the directory %s: %w", cfg.File.Dir, err)
		}
		return dir, nil
	}
	return "", errors.New("the storage configuration names no store")
}

// component makes a name usable as part of a key: unchanged if it is plain, else escaped.
func component(name string) string {
	name = strings.ReplaceAll(url.PathEscape(name), "%2F", "%2f")
	if name == "" || name == "." || name == ".." {
		return "_" + name
	}
	return name
}

// atStart marks an error of the first start of a job that no restart mends, such as a path that doesn't exist: it ends
// the job at once. Once the job has state it has run with this configuration, and waits for what is missing to come back.
func atStart(c *operator.Context, err error) error {
	if err == nil || c.RestoredFrom != 0 || storage.Retriable(err) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return &task.FatalError{Err: err}
}
