// SPDX-License-Identifier: Apache-2.0

package storagetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/weir-stream/weir/runtime/storage"
)

// Credentials of the test servers.
const (
	AccessKey = "weir-test"
	SecretKey = "weir-test-secret"
)

const (
	startTimeout = 30 * time.Second
	stopTimeout  = 10 * time.Second
	buildTimeout = 20 * time.Minute
	pollInterval = 20 * time.Millisecond
)

// Server is a running S3-compatible server. It ends with the test.
type Server struct {
	// Endpoint is its URL.
	Endpoint string
	// Dir is where it keeps its data.
	Dir string
	// PID of its process.
	PID int
}

// Config returns the configuration of a store in a bucket of the server.
func (s *Server) Config(bucket, prefix string) storage.S3Config {
	return storage.S3Config{Endpoint: s.Endpoint, Bucket: bucket, Prefix: prefix, AccessKey: AccessKey, SecretKey: SecretKey}
}

// Bucket makes a bucket. Both servers keep one as a directory.
func (s *Server) Bucket(t testing.TB, name string) {
	t.Helper()
	if err := os.Mkdir(filepath.Join(s.Dir, name), 0o750); err != nil {
		t.Fatal(err)
	}
}

// StartVersityGW starts VersityGW over a temporary directory, with a bucket "weir".
func StartVersityGW(t testing.TB) *Server {
	t.Helper()
	return start(t, "versitygw", "github.com/versity/versitygw/cmd/versitygw", launch{
		health: "/health",
		args: func(address, dir string) []string {
			return []string{
				"--port", address, "--access", AccessKey, "--secret", SecretKey, "--quiet", "--keep-alive", "--health", "/health",
				"posix", dir,
			}
		},
	})
}

// StartMinIO starts MinIO over a temporary directory, with a bucket "weir".
func StartMinIO(t testing.TB) *Server {
	t.Helper()
	return start(t, "minio", "github.com/minio/minio", launch{
		health: "/minio/health/ready",
		args:   func(address, dir string) []string { return []string{"server", "--quiet", "--address", address, dir} },
		env: func(dir string) []string {
			return []string{
				"MINIO_ROOT_USER=" + AccessKey, "MINIO_ROOT_PASSWORD=" + SecretKey, "MINIO_BROWSER=off",
				"MINIO_UPDATE=off", "MINIO_CALLHOME_ENABLE=off", "HOME=" + filepath.Dir(dir),
			}
		},
	})
}

// launch says how a server is started.
type launch struct {
	health string
	args   func(address, dir string) []string
	env    func(dir string) []string
}

func start(t testing.TB, name, module string, l launch) *Server {
	t.Helper()
	binary, err := Build(t.Context(), name, module)
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{Dir: filepath.Join(t.TempDir(), "data")}
	if err := os.MkdirAll(s.Dir, 0o750); err != nil {
		t.Fatal(err)
	}
	s.Bucket(t, "weir")
	const tries = 3 // another process may take the free port first
	for try := 1; ; try++ {
		address := freeAddress(t)
		s.Endpoint = "http://" + address
		cmd := exec.Command(binary, l.args(address, s.Dir)...) // ended by its cleanup, gently first
		if l.env != nil {
			cmd.Env = append(os.Environ(), l.env(s.Dir)...)
		}
		err := s.run(t, cmd, s.Endpoint+l.health)
		if err == nil {
			return s
		}
		if try == tries {
			t.Fatalf("starting %s: %v", name, err)
		}
	}
}

// run starts the process and waits until it is ready.
func (s *Server) run(t testing.TB, cmd *exec.Cmd, health string) error {
	t.Helper()
	var output lockedBuffer
	cmd.Stdout, cmd.Stderr = &output, &output
	endWithParent(cmd)
	if err := cmd.Start(); err != nil {
		return err
	}
	s.PID = cmd.Process.Pid
	ended := make(chan struct{})
	go func() { _ = cmd.Wait(); close(ended) }()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-ended:
		case <-time.After(stopTimeout):
			_ = cmd.Process.Kill()
			<-ended
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	if err := waitReady(ctx, health, ended); err != nil {
		return fmt.Errorf("%w; its output:\n%s", err, output.String())
	}
	return nil
}

func waitReady(ctx context.Context, health string, ended <-chan struct{}) error {
	client := &http.Client{Timeout: time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, health, nil)
		if err != nil {
			return err
		}
		if resp, err := client.Do(req); err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("it was not ready in time: %w", ctx.Err())
		case <-ended:
			return errors.New("it ended")
		case <-ticker.C:
		}
	}
}

func freeAddress(t testing.TB) string {
	t.Helper()
	var config net.ListenConfig
	listener, err := config.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

// Build returns the path of a server's binary in bin/, and builds it there first if it is missing.
func Build(ctx context.Context, name, module string) (string, error) {
	root, err := repositoryRoot()
	if err != nil {
		return "", err
	}
	binary := filepath.Join(root, "bin", name)
	if err := os.MkdirAll(filepath.Dir(binary), 0o750); err != nil {
		return "", err
	}
	lock, err := os.OpenFile(binary+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return "", err
	}
	defer lock.Close()
	// Packages are tested by processes of their own, and one of them builds.
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return "", fmt.Errorf("locking %s: %w", lock.Name(), err)
	}
	if info, err := os.Stat(binary); err == nil && info.Mode().IsRegular() {
		return binary, nil
	}
	ctx, cancel := context.WithTimeout(ctx, buildTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, "go", "build", "-o", binary, module)
	cmd.Dir = filepath.Join(root, "hack", "servers")
	if output, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building %s: %w\n%s", name, err, output)
	}
	return binary, nil
}

// repositoryRoot is found from the working directory, which in a test is the folder of its package.
func repositoryRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "hack", "servers", "go.mod")); err == nil {
			return dir, nil
		}
		up := filepath.Dir(dir)
		if up == dir {
			return "", errors.New("looking for hack/servers: the working directory is not in the repository")
		}
		dir = up
	}
}

type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

// Write implements io.Writer.
func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

// String returns what was written.
func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return strings.TrimSpace(b.buf.String())
}
