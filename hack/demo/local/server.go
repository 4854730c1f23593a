// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/weir-stream/weir/hack/demo/words"
	"github.com/weir-stream/weir/runtime/storage"
	"github.com/weir-stream/weir/runtime/storage/s3store"
)

const (
	accessKey = "weir-demo"
	secretKey = "weir-demo-secret"
)

// server is the S3 server of the demonstration.
type server struct {
	endpoint string
	dir      string
	process  *exec.Cmd
}

// startServer starts VersityGW on a free port, over a directory of its own, with the bucket "weir".
func startServer(ctx context.Context, dir string) (*server, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	addr := l.Addr().String()
	if err := l.Close(); err != nil {
		return nil, err
	}
	s := &server{endpoint: "http://" + addr, dir: filepath.Join(dir, "s3")}
	if err := os.MkdirAll(filepath.Join(s.dir, "weir"), 0o750); err != nil {
		return nil, err
	}
	s.process = exec.Command(filepath.Join("bin", "versitygw"), "--port", addr, "--access", accessKey, "--secret", secretKey,
		"--quiet", "--keep-alive", "--health", "/health", "posix", s.dir)
	s.process.SysProcAttr = endWithParent()
	if err := s.process.Start(); err != nil {
		return nil, fmt.Errorf("starting VersityGW: %w", err)
	}
	err = poll(ctx, "VersityGW", func() (bool, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.endpoint+"/health", nil)
		if err != nil {
			return false, err
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			return false, nil
		}
		defer res.Body.Close()
		return res.StatusCode == http.StatusOK, nil
	})
	if err != nil {
		s.stop()
		return nil, err
	}
	return s, nil
}

// stop ends the server.
func (s *server) stop() {
	_ = s.process.Process.Signal(syscall.SIGTERM)
	_ = s.process.Wait()
}

// environment is that of processes that use the server.
func (s *server) environment() []string {
	return append(os.Environ(), "AWS_ACCESS_KEY_ID="+accessKey, "AWS_SECRET_ACCESS_KEY="+secretKey, "AWS_ENDPOINT_URL_S3="+s.endpoint)
}

// uploadTime is how long the upload of a half takes.
const uploadTime = 6 * time.Second

// open opens a part of the bucket.
func (s *server) open(ctx context.Context, prefix string) (storage.Store, error) {
	return s3store.Open(ctx, storage.S3Config{
		Endpoint: s.endpoint, Bucket: "weir", Prefix: prefix, AccessKey: accessKey, SecretKey: secretKey,
	})
}

// upload puts the files of a half into the bucket.
func (s *server) upload(ctx context.Context, h *words.Half) error {
	store, err := s.open(ctx, "text")
	if err != nil {
		return err
	}
	defer store.Close()
	return h.Upload(ctx, store, uploadTime)
}

// poll calls ready until it says yes.
func poll(ctx context.Context, what string, ready func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, stepTimeout)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		ok, err := ready()
		if ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s: %w", what, context.Cause(ctx))
		case <-tick.C:
		}
	}
}
