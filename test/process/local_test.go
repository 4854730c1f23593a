// SPDX-License-Identifier: Apache-2.0

package process_test

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/weir-stream/weir/runtime/contract"
	"github.com/weir-stream/weir/runtime/storage/storagetest"
)

// A restart reads state from the disks of the workers as long as it is there and whole, also in the process that takes the place of a
// killed one, and from storage after that; the output is exact either way.
func TestLocalRecovery(t *testing.T) {
	s3 := storagetest.StartVersityGW(t)
	endpoint, reads := countReads(t, s3.Endpoint)
	c := newCluster(t, func(c *cluster) {
		c.cfg.Storage = &contract.Storage{S3: &contract.S3{Endpoint: endpoint, Bucket: "weir", Prefix: "state"}}
		c.cfg.StateBackend = &contract.StateBackend{LocalRecovery: true, Incremental: true}
		c.env = append(c.env, "AWS_ACCESS_KEY_ID="+storagetest.AccessKey, "AWS_SECRET_ACCESS_KEY="+storagetest.SecretKey)
		t.Setenv("AWS_ENDPOINT_URL_S3", s3.Endpoint)
		t.Setenv("AWS_ACCESS_KEY_ID", storagetest.AccessKey)
		t.Setenv("AWS_SECRET_ACCESS_KEY", storagetest.SecretKey)
	})
	dirs := []string{filepath.Join(c.dir, "local-0"), filepath.Join(c.dir, "local-1")}
	start := func(i int) *process {
		c.names++
		name := "worker-" + string(rune('a'+c.names))
		return c.start(name, "worker", "--coordinator", c.control, "--name", name, "--local-dir", dirs[i])
	}
	coordinator := c.coordinator(1)
	workers := []*process{start(0), start(1)}
	id := c.progress(0)
	id = c.progress(id)

	restart := func(restarts int64, between func()) int64 {
		before := reads.Load()
		c.kill(workers[1])
		between()
		workers[1] = start(1)
		c.restarted(restarts)
		id = c.progress(id)
		return reads.Load() - before
	}
	if n := restart(1, func() {}); n != 0 {
		t.Errorf("%d reads of state files from storage though there are copies", n)
	}
	damage := func() {
		for _, f := range copiesIn(t, dirs[1]) {
			b, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			b[len(b)/2] ^= 1
			if err := os.WriteFile(f, b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	if n := restart(2, damage); n == 0 {
		t.Error("no state file was read from storage though the copies were damaged")
	}
	if n := restart(3, func() {
		if err := os.RemoveAll(dirs[1]); err != nil {
			t.Fatal(err)
		}
	}); n == 0 {
		t.Error("no state file was read from storage though there were no copies")
	}
	c.stop(coordinator)
	c.judge()
}

// copiesIn lists the local copies of a worker, of which there must be some.
func copiesIn(t *testing.T, dir string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "state-*"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%s has no copies (%v)", dir, err)
	}
	return files
}

// countReads passes requests on to an S3 server and counts those that read state files.
func countReads(t *testing.T, server string) (endpoint string, reads *atomic.Int64) {
	t.Helper()
	reads = &atomic.Int64{}
	proxy := proxyTo(t, server)
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		file := strings.Contains(r.URL.Path, "/checkpoints/") || strings.Contains(r.URL.Path, "/shared/")
		if r.Method == http.MethodGet && file && !strings.HasSuffix(r.URL.Path, "/_metadata") {
			reads.Add(1)
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(front.Close)
	return front.URL, reads
}
