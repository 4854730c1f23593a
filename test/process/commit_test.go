// SPDX-License-Identifier: Apache-2.0

package process_test

import (
	"bytes"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/weir-stream/weir/runtime/contract"
	"github.com/weir-stream/weir/runtime/storage/storagetest"
)

// A coordinator is frozen with the commit of a checkpoint on its way to storage, another takes over, and the frozen one goes on. The
// commit arrives before the take-over, and then counts, or after it, and then must be refused.
func TestCoordinatorFrozenDuringItsCommit(t *testing.T) {
	for name, before := range map[string]bool{"arrives before the take-over": true, "arrives after the take-over": false} {
		t.Run(name, func(t *testing.T) {
			s3 := storagetest.StartVersityGW(t)
			h := newHolder(t, s3.Endpoint)
			c := newCluster(t, func(c *cluster) {
				c.cfg.Storage = &contract.Storage{S3: &contract.S3{Endpoint: h.endpoint, Bucket: "weir", Prefix: "state"}}
				c.env = append(c.env, "AWS_ACCESS_KEY_ID="+storagetest.AccessKey, "AWS_SECRET_ACCESS_KEY="+storagetest.SecretKey)
				t.Setenv("AWS_ENDPOINT_URL_S3", s3.Endpoint)
				t.Setenv("AWS_ACCESS_KEY_ID", storagetest.AccessKey)
				t.Setenv("AWS_SECRET_ACCESS_KEY", storagetest.SecretKey)
			})
			zombie := c.coordinator(1)
			orphans := c.workers(2)
			id := c.progress(0)
			held := h.holdCommit(t, id)
			c.signal(zombie, syscall.SIGSTOP)
			t.Logf("frozen with the commit of checkpoint %d on its way", held.checkpoint)
			if before {
				if code := held.deliver(t); code != http.StatusOK {
					t.Fatalf("the commit was answered with %d", code)
				}
			}

			c.control, c.api = freeAddress(t), freeAddress(t)
			coordinator := c.coordinator(2)
			c.workers(2)
			s := c.until("the job under the next coordinator", func(s *contract.JobStatus) bool {
				return s.State == contract.JobRunning && s.RestoredFrom != nil
			})
			switch {
			case before && s.RestoredFrom.ID != held.checkpoint:
				t.Errorf("restored from checkpoint %d though %d is in the head", s.RestoredFrom.ID, held.checkpoint)
			case !before && s.RestoredFrom.ID >= held.checkpoint:
				t.Errorf("restored from checkpoint %d, which was never in the head", s.RestoredFrom.ID)
			}
			id = c.progress(max(id, s.RestoredFrom.ID))
			if !before {
				if code := held.deliver(t); code != http.StatusPreconditionFailed {
					t.Errorf("the commit of a coordinator that was replaced was answered with %d", code)
				}
			}
			c.signal(zombie, syscall.SIGCONT)
			c.ended(zombie)
			if zombie.err == nil || !names(zombie.log.tail(), "fenced") {
				t.Errorf("the zombie ended with %v and doesn't say that it was fenced", zombie.err)
			}
			c.progress(id)
			for _, w := range orphans { // they wait for their coordinator until they are told to end
				c.signal(w, syscall.SIGTERM)
				c.ended(w)
			}
			c.stop(coordinator)
			c.judge()
		})
	}
}

// holder passes requests on to an S3 server and can hold back the one that commits a checkpoint.
type holder struct {
	endpoint string

	mu struct {
		sync.Mutex
		// above is the id of the last checkpoint whose commit is let pass; negative: all are.
		above int64
	}
	held chan *heldCommit
}

// heldCommit is a commit that waits to be delivered.
type heldCommit struct {
	checkpoint int64
	release    chan struct{}
	answered   chan int
}

// deliver lets the commit go on to the server and returns its answer.
func (c *heldCommit) deliver(t *testing.T) int {
	t.Helper()
	close(c.release)
	select {
	case code := <-c.answered:
		return code
	case <-t.Context().Done():
		t.Fatal(t.Context().Err())
		return 0
	}
}

// proxyTo passes requests on to an S3 server as they are.
func proxyTo(t *testing.T, server string) *httputil.ReverseProxy {
	t.Helper()
	target, err := url.Parse(server)
	if err != nil {
		t.Fatal(err)
	}
	return &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(target)
		r.Out.Host = r.In.Host // a part of the signature
	}}
}

func newHolder(t *testing.T, server string) *holder {
	t.Helper()
	h := &holder{held: make(chan *heldCommit, 1)}
	h.mu.above = -1
	proxy := proxyTo(t, server)
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		commit := h.takes(r)
		if commit == nil {
			proxy.ServeHTTP(w, r)
			return
		}
		h.held <- commit
		<-commit.release
		recorded := httptest.NewRecorder()
		proxy.ServeHTTP(recorded, r.WithContext(t.Context()))
		commit.answered <- recorded.Code
		maps.Copy(w.Header(), recorded.Header())
		w.WriteHeader(recorded.Code)
		_, _ = w.Write(recorded.Body.Bytes())
	}))
	t.Cleanup(front.Close)
	h.endpoint = front.URL
	return h
}

// holdCommit waits until the commit of a checkpoint above id has come, and keeps it.
func (h *holder) holdCommit(t *testing.T, id int64) *heldCommit {
	t.Helper()
	h.mu.Lock()
	h.mu.above = id
	h.mu.Unlock()
	select {
	case c := <-h.held:
		return c
	case <-t.Context().Done():
		t.Fatal(t.Context().Err())
		return nil
	}
}

var checkpointPath = regexp.MustCompile(`/chk-(\d+)/`)

// takes says whether a request is the commit to hold back.
func (h *holder) takes(r *http.Request) *heldCommit {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.mu.above < 0 || r.Method != http.MethodPut || !strings.HasSuffix(r.URL.Path, "/head.json") {
		return nil
	}
	body, err := io.ReadAll(r.Body)
	r.Body = io.NopCloser(bytes.NewReader(body))
	if err != nil {
		return nil
	}
	newest := int64(0)
	for _, m := range checkpointPath.FindAllSubmatch(body, -1) {
		if id, err := strconv.ParseInt(string(m[1]), 10, 64); err == nil {
			newest = max(newest, id)
		}
	}
	if newest <= h.mu.above {
		return nil
	}
	h.mu.above = -1
	return &heldCommit{checkpoint: newest, release: make(chan struct{}), answered: make(chan int, 1)}
}
