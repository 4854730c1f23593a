// SPDX-License-Identifier: Apache-2.0

package storage_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"
	"testing"

	"github.com/weir-stream/weir/runtime/storage"
)

func TestDescribe(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		cause     error
		retriable bool
		want      string
	}{
		"full disk":   {&fs.PathError{Op: "write", Path: "x", Err: syscall.ENOSPC}, true, "the disk is full"},
		"quota":       {syscall.EDQUOT, true, "quota"},
		"read-only":   {syscall.EROFS, false, "mount it writable"},
		"permissions": {syscall.EACCES, false, "right to it"},
		"long name":   {syscall.ENAMETOOLONG, false, "shorter"},
		"other":       {errors.New("odd"), false, "creating k in file:///d: odd"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := storage.Describe("creating", "k", "file:///d", tc.cause)
			if !errors.Is(err, tc.cause) || storage.Retriable(fmt.Errorf("wrapping: %w", err)) != tc.retriable || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%v, retriable: %v, want %q and %v", err, storage.Retriable(err), tc.want, tc.retriable)
			}
		})
	}
}

func TestConfig_MarshalsNoSecrets(t *testing.T) {
	t.Parallel()
	data, err := json.Marshal(storage.Config{S3: &storage.S3Config{Bucket: "b", AccessKey: "visible", SecretKey: "secret"}})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := string(data), `{"s3":{"bucket":"b"}}`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}
