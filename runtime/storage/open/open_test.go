// SPDX-License-Identifier: Apache-2.0

package open_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-stream/weir/runtime/storage"
	"github.com/weir-stream/weir/runtime/storage/open"
)

func clearEnv(t *testing.T) {
	t.Helper()
	for _, name := range []string{"AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_REGION", "AWS_DEFAULT_REGION"} {
		t.Setenv(name, "")
	}
}

func TestParse(t *testing.T) {
	clearEnv(t)
	for location, want := range map[string]storage.Config{
		"s3://bucket": {S3: &storage.S3Config{Bucket: "bucket"}},
		"s3://bucket/a/b/?endpoint=http://127.0.0.1:9000&region=here": {S3: &storage.S3Config{Bucket: "bucket", Prefix: "a/b", Endpoint: "http://127.0.0.1:9000", Region: "here"}},
		"file:///some/dir":      {File: &storage.FileConfig{Dir: "/some/dir"}},
		"file:///with%20space/": {File: &storage.FileConfig{Dir: "/with space/"}},
		"/some/dir/":            {File: &storage.FileConfig{Dir: "/some/dir"}},
		"./rel":                 {File: &storage.FileConfig{Dir: "rel"}},
		"memory://name":         {Memory: &storage.MemoryConfig{Name: "name"}},
	} {
		got, err := open.Parse(location)
		if err != nil {
			t.Errorf("Parse(%s): %v", location, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("Parse(%s) (-want +got):\n%s", location, diff)
		}
	}
}

func TestParse_Environment(t *testing.T) {
	clearEnv(t)
	t.Setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
	t.Setenv("AWS_REGION", "there")
	got, err := open.Parse("s3://b?region=here")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(storage.Config{S3: &storage.S3Config{Bucket: "b", Endpoint: "http://127.0.0.1:1", Region: "here"}}, got); diff != "" {
		t.Errorf("Parse (-want +got):\n%s", diff)
	}
}

func TestParse_Refuses(t *testing.T) {
	for location, want := range map[string]string{
		"":                            "no location",
		"s3://":                       "no bucket",
		"s3://me:hunter2@bucket":      "holds credentials",
		"s3://me:hunter2@bucket:x/%z": "malformed",
		"s3://b?bogus=1":              "unknown parameter",
		"s3://b?caBundleFile=/none":   "/none",
		"gs://bucket":                 "not a kind of storage",
		"file://host/dir":             "file:///directory",
		"file://":                     "file:///directory",
	} {
		cfg, err := open.Parse(location)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("Parse(%s) = %v, %v, want %q in the error and no secret", location, cfg, err, want)
		}
	}
}

func TestOpen(t *testing.T) {
	dir := t.TempDir()
	for name, location := range map[string]string{"directory": dir, "memory": "memory://open-test"} {
		t.Run(name, func(t *testing.T) {
			first, err := open.URL(t.Context(), location)
			if err != nil {
				t.Fatal(err)
			}
			if err := first.PutIfAbsent(t.Context(), "x", []byte("content")); err != nil {
				t.Fatal(err)
			}
			if err := first.Close(); err != nil {
				t.Fatal(err)
			}
			second, err := open.URL(t.Context(), first.String())
			if err != nil {
				t.Fatal(err)
			}
			defer second.Close()
			if data, _, err := second.Get(t.Context(), "x"); err != nil || string(data) != "content" {
				t.Errorf("Get = %q, %v", data, err)
			}
		})
	}
	for name, cfg := range map[string]storage.Config{
		"nothing": {},
		"two":     {File: &storage.FileConfig{Dir: dir}, Memory: &storage.MemoryConfig{}},
		"missing": {File: &storage.FileConfig{Dir: dir + "/missing", ReadOnly: true}},
	} {
		if s, err := open.Open(t.Context(), cfg); err == nil || s != nil {
			t.Errorf("%s: Open = %v, %v", name, s, err)
		}
	}
}
