// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

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

// half is a half of the text: files on this machine, one object for each folder of sources.
type half struct {
	files []string
	lines int
	bytes int
}

// String says how much it is.
func (h *half) String() string {
	return fmt.Sprintf("%d objects, %d lines, %d MB", len(h.files), h.lines, h.bytes>>20)
}

// gather joins the Go sources of each folder below GOROOT/src into one text file, and deals them into two halves.
func gather(dir string) (first, second half, err error) {
	root := filepath.Join(runtime.GOROOT(), "src") //nolint:staticcheck // the demonstration runs where Go is
	out := filepath.Join(dir, "text")
	if err := os.Mkdir(out, 0o750); err != nil {
		return first, second, err
	}
	folders := map[string][]string{}
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() && strings.HasSuffix(path, ".go") {
			folders[filepath.Dir(path)] = append(folders[filepath.Dir(path)], path)
		}
		return err
	})
	if err != nil {
		return first, second, fmt.Errorf("looking for Go sources: %w", err)
	}
	names := make([]string, 0, len(folders))
	for f := range folders {
		names = append(names, f)
	}
	slices.Sort(names)
	for i, f := range names {
		h := &first
		if i%2 == 1 {
			h = &second
		}
		rel, err := filepath.Rel(root, f)
		if err != nil {
			return first, second, err
		}
		if err := h.join(filepath.Join(out, strings.ReplaceAll(rel, string(filepath.Separator), "_")+".txt"), folders[f]); err != nil {
			return first, second, err
		}
	}
	return first, second, nil
}

func (h *half) join(name string, parts []string) error {
	var text []byte
	for _, p := range parts {
		b, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		text = append(text, b...)
		if len(b) > 0 && b[len(b)-1] != '\n' {
			text = append(text, '\n')
		}
	}
	h.files = append(h.files, name)
	h.bytes += len(text)
	h.lines += strings.Count(string(text), "\n")
	return os.WriteFile(name, text, 0o600)
}

// uploadTime is how long the upload of a half takes, so that the job is busy while things happen to it.
const uploadTime = 6 * time.Second

// upload puts the files of a half into the bucket, one after the other, evenly over uploadTime.
func (s *server) upload(ctx context.Context, h half) error {
	store, err := s3store.Open(ctx, storage.S3Config{
		Endpoint: s.endpoint, Bucket: "weir", Prefix: "text", AccessKey: accessKey, SecretKey: secretKey,
	})
	if err != nil {
		return err
	}
	defer store.Close()
	tick := time.NewTicker(uploadTime / time.Duration(len(h.files)))
	defer tick.Stop()
	for _, f := range h.files {
		b, err := os.ReadFile(f)
		if err != nil {
			return err
		}
		if err := store.PutIfAbsent(ctx, filepath.Base(f), b); err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
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
