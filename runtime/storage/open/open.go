// SPDX-License-Identifier: Apache-2.0

// Package open opens a store by its configuration or by a URL.
package open

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/weir-stream/weir/runtime/storage"
	"github.com/weir-stream/weir/runtime/storage/filestore"
	"github.com/weir-stream/weir/runtime/storage/memstore"
	"github.com/weir-stream/weir/runtime/storage/s3store"
)

// memories are the stores of this process that have a name.
var memories = struct {
	sync.Mutex
	byName map[string]*memstore.Memory
}{byName: map[string]*memstore.Memory{}}

// Open opens the store that cfg names. The caller closes it.
func Open(ctx context.Context, cfg storage.Config) (storage.Store, error) {
	set := 0
	for _, is := range []bool{cfg.S3 != nil, cfg.File != nil, cfg.Memory != nil} {
		if is {
			set++
		}
	}
	if set != 1 {
		return nil, refuse(fmt.Sprintf("exactly one of s3, file and memory must be given, not %d", set), "correct the storage configuration")
	}
	switch {
	case cfg.S3 != nil:
		return orNil(s3store.Open(ctx, *cfg.S3))
	case cfg.File != nil:
		return orNil(filestore.Open(*cfg.File))
	}
	return memory(cfg.Memory.Name).Client(memstore.Options{}), nil
}

// orNil keeps a nil pointer from becoming a store.
func orNil[S storage.Store](store S, err error) (storage.Store, error) {
	if err != nil {
		return nil, err
	}
	return store, nil
}

func memory(name string) *memstore.Memory {
	memories.Lock()
	defer memories.Unlock()
	m, ok := memories.byName[name]
	if !ok {
		m = memstore.New(name, time.Now)
		memories.byName[name] = m
	}
	return m
}

func refuse(cause, remedy string) error {
	return &storage.Error{Op: "opening storage", Err: errors.New(cause), Remedy: remedy}
}

// URL opens the store that a URL or a path names; see Parse.
func URL(ctx context.Context, location string) (storage.Store, error) {
	cfg, err := Parse(location)
	if err != nil {
		return nil, err
	}
	return Open(ctx, cfg)
}

// Parse turns a URL or a path into a configuration:
//
//	s3://bucket/prefix?endpoint=http://127.0.0.1:9000&region=us-east-1&caBundleFile=/path
//	file:///directory
//	/directory, ./directory, directory
//	memory://name
//
// Without an endpoint that of AWS_ENDPOINT_URL_S3 or AWS_ENDPOINT_URL is used, and without a region that of AWS_REGION.
func Parse(location string) (storage.Config, error) {
	scheme, _, found := strings.Cut(location, "://")
	if !found {
		if location == "" {
			return storage.Config{}, refuse("no location is given", "give a directory or a URL such as s3://bucket/prefix")
		}
		return storage.Config{File: &storage.FileConfig{Dir: filepath.Clean(location)}}, nil
	}
	u, err := url.Parse(location)
	if err != nil {
		return storage.Config{}, refuse(fmt.Sprintf("the URL is malformed: %v", bare(err)), "correct it")
	}
	if u.User != nil {
		return storage.Config{}, refuse("the URL holds credentials", "remove them and set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
	}
	switch scheme {
	case "s3":
		return parseS3(u)
	case "file":
		if u.Host != "" && u.Host != "localhost" || u.Path == "" || u.RawQuery != "" {
			return storage.Config{}, refuse(fmt.Sprintf("%q is not the URL of a directory", location), "write it as file:///directory")
		}
		return storage.Config{File: &storage.FileConfig{Dir: filepath.FromSlash(u.Path)}}, nil
	case "memory":
		return storage.Config{Memory: &storage.MemoryConfig{Name: u.Host + u.Path}}, nil
	}
	return storage.Config{}, refuse(fmt.Sprintf("%q is not a kind of storage", scheme), "use s3://, file://, memory:// or the path of a directory")
}

// bare leaves out the URL, which may hold credentials.
func bare(err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		return e.Err
	}
	return err
}

func parseS3(u *url.URL) (storage.Config, error) {
	if u.Host == "" {
		return storage.Config{}, refuse("the URL names no bucket", "write it as s3://bucket/prefix")
	}
	cfg := &storage.S3Config{
		Bucket: u.Host, Prefix: strings.Trim(u.Path, "/"),
		Endpoint: first(os.Getenv("AWS_ENDPOINT_URL_S3"), os.Getenv("AWS_ENDPOINT_URL")),
		Region:   first(os.Getenv("AWS_REGION"), os.Getenv("AWS_DEFAULT_REGION")),
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return storage.Config{}, refuse(fmt.Sprintf("the URL's parameters are malformed: %v", err), "correct them")
	}
	for name, values := range query {
		value := values[len(values)-1]
		switch name {
		case "endpoint":
			cfg.Endpoint = value
		case "region":
			cfg.Region = value
		case "caBundleFile":
			pem, err := os.ReadFile(value)
			if err != nil {
				return storage.Config{}, storage.Describe("reading the CA bundle", value, "", bare(err))
			}
			cfg.CABundle = string(pem)
		default:
			return storage.Config{}, refuse(fmt.Sprintf("the URL has the unknown parameter %q", name), "use endpoint, region or caBundleFile")
		}
	}
	return storage.Config{S3: cfg}, nil
}

func first(values ...string) string {
	for _, value := range values {
		if value != "" {
			return value
		}
	}
	return ""
}
