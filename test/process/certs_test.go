// SPDX-License-Identifier: Apache-2.0

package process_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weir-stream/weir/runtime/contract"
	"github.com/weir-stream/weir/runtime/transport"
)

// replace puts a file in place of another at once, as a kubelet does.
func (c *cluster) replace(path string, content []byte) {
	c.t.Helper()
	if err := os.WriteFile(path+".next", content, 0o600); err != nil {
		c.t.Fatal(err)
	}
	if err := os.Rename(path+".next", path); err != nil {
		c.t.Fatal(err)
	}
}

func (c *cluster) read(path ...string) []byte {
	c.t.Helper()
	b, err := os.ReadFile(filepath.Join(path...))
	if err != nil {
		c.t.Fatal(err)
	}
	return b
}

// clientWith calls the control API with the certificate of a directory.
func (c *cluster) clientWith(dir string) *contract.Client {
	c.t.Helper()
	secure, err := transport.CertFiles(dir, "client").Client(transport.RoleCoordinator)
	if err != nil {
		c.t.Fatal(err)
	}
	client, err := contract.NewClient(c.api, contract.ClientOptions{TLS: secure})
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(client.Close)
	return client
}

// Certificates are replaced by those of another authority while a job runs. Nothing restarts, connections of before and after work, and in the
// end what the old authority has signed is refused.
func TestCertificates_AreReplacedWhileTheJobRuns(t *testing.T) {
	c := newCluster(t, func(c *cluster) {
		c.cfg.JobID, c.cfg.NewJobID = "a1", "a1"
		c.withTLS()
	})
	coordinator := c.supervise(1)
	workers := c.workers(2)
	id := c.progress(0)
	old, next := filepath.Join(c.dir, "old"), filepath.Join(c.dir, "next")
	if err := transport.GenerateCerts(next, []string{"127.0.0.1"}); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(old, os.DirFS(c.tls)); err != nil {
		t.Fatal(err)
	}
	both := append(c.read(old, "ca.crt"), c.read(next, "ca.crt")...)
	c.replace(filepath.Join(c.tls, "ca.crt"), both)
	c.replace(filepath.Join(old, "ca.crt"), both) // it shall fail for its certificate, not for that of the server
	if _, err := c.clientWith(old).Job(t.Context()); err != nil {
		t.Fatalf("while both are trusted, with the old certificate: %v", err)
	}
	for _, role := range []string{"coordinator", "worker", "client"} {
		for _, end := range []string{".crt", ".key"} {
			c.replace(filepath.Join(c.tls, role+end), c.read(next, role+end))
		}
	}
	if _, err := c.clientWith(old).Job(t.Context()); err != nil {
		t.Fatalf("with the next certificates, which still trust the old ones: %v", err)
	}
	id = c.progress(id)
	c.replace(filepath.Join(c.tls, "ca.crt"), c.read(next, "ca.crt"))
	c.client = c.clientWith(next)
	id = c.progress(id + 3)
	s := c.until("the status", func(*contract.JobStatus) bool { return true })
	if s.Restarts != 0 || s.Epoch.N != 1 {
		t.Errorf("%d restarts, epoch %+v", s.Restarts, s.Epoch)
	}
	if _, err := c.clientWith(old).Job(t.Context()); err == nil || !strings.Contains(err.Error(), "bad certificate") {
		t.Errorf("with the old certificate in the end: %v", err)
	}
	// New connections of all kinds: a worker that is new to the coordinator and to the worker that stays.
	c.kill(workers[0])
	c.workers(1)
	c.restarted(1)
	c.progress(id)
	// One with the old certificates doesn't get in.
	dir := c.tls
	c.tls = old
	stranger := c.workers(1)[0]
	c.tls = dir
	time.Sleep(2 * time.Second) // it tries a few times; not a synchronisation
	if s := c.until("the status", func(*contract.JobStatus) bool { return true }); len(s.Workers) != 2 {
		t.Errorf("%d workers are there", len(s.Workers))
	}
	c.kill(stranger)
	c.stopJob("stop-1")
	c.terminate(coordinator.process)
	c.judge()
}
