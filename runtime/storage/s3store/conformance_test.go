// SPDX-License-Identifier: Apache-2.0

package s3store_test

import (
	"testing"

	"github.com/weir-stream/weir/runtime/storage"
	"github.com/weir-stream/weir/runtime/storage/s3store"
	"github.com/weir-stream/weir/runtime/storage/storagetest"
)

func openStore(t *testing.T, cfg storage.S3Config) storage.Store {
	t.Helper()
	s, err := s3store.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func TestConformance(t *testing.T) {
	for name, start := range map[string]func(testing.TB) *storagetest.Server{
		"VersityGW": storagetest.StartVersityGW,
		"MinIO":     storagetest.StartMinIO,
	} {
		t.Run(name, func(t *testing.T) {
			server := start(t)
			for name, prefix := range map[string]string{"prefix": "some/prefix/", "bucket": ""} {
				t.Run(name, func(t *testing.T) {
					bucket := "conformance-" + name
					server.Bucket(t, bucket)
					storagetest.Run(t, func(t *testing.T) storage.Store { return openStore(t, server.Config(bucket, prefix)) })
				})
			}
		})
	}
}
