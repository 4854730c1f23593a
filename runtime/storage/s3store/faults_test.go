// SPDX-License-Identifier: Apache-2.0

package s3store_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weir-stream/weir/runtime/storage"
	"github.com/weir-stream/weir/runtime/storage/s3store"
	"github.com/weir-stream/weir/runtime/storage/storagetest"
)

// proxied returns a store behind a proxy, and one that goes straight to the server.
func proxied(t *testing.T, timeout time.Duration) (storage.Store, storage.Store, *storagetest.Proxy) {
	t.Helper()
	server := storagetest.StartVersityGW(t)
	proxy := storagetest.StartProxy(t, server.Endpoint)
	cfg := server.Config("weir", "")
	direct := openStore(t, cfg)
	cfg.Endpoint, cfg.Timeout = proxy.Endpoint, timeout
	return openStore(t, cfg), direct, proxy
}

// onWrites gives the first n writes a fault, and counts all.
func onWrites(n int64, fault storagetest.ProxyFault) (func(*http.Request) storagetest.ProxyFault, *atomic.Int64) {
	var writes atomic.Int64
	return func(r *http.Request) storagetest.ProxyFault {
		if r.Method != http.MethodPut {
			return storagetest.Pass
		}
		if writes.Add(1) <= n {
			return fault
		}
		return storagetest.Pass
	}, &writes
}

func wantContent(t *testing.T, s storage.Store, key, want string) {
	t.Helper()
	data, _, err := s.Get(t.Context(), key)
	if err != nil || string(data) != want {
		t.Errorf("Get(%s) = %q, %v, want %q", key, data, err, want)
	}
}

func TestPutIfAbsent_LostAnswers(t *testing.T) {
	store, direct, proxy := proxied(t, 10*time.Second)
	for name, tc := range map[string]struct {
		fault  storagetest.ProxyFault
		times  int64
		before string // what another writer had put there
		want   error
		writes int64
	}{
		"answer lost":                 {fault: storagetest.LoseAnswer, times: 1, writes: 2},
		"answer lost, another's":      {fault: storagetest.LoseAnswer, times: 1, before: "another's", want: storage.ErrExists, writes: 2},
		"request lost":                {fault: storagetest.LoseRequest, times: 2, writes: 3},
		"not available for a while":   {fault: storagetest.Fail, times: 2, writes: 3},
		"all answers lost":            {fault: storagetest.LoseAnswer, times: 100, want: storage.ErrUnknownOutcome, writes: 4},
		"all requests lost":           {fault: storagetest.LoseRequest, times: 100, want: storage.ErrUnknownOutcome, writes: 4},
		"refused without lost writes": {fault: storagetest.Pass, before: "mine", want: storage.ErrExists, writes: 1},
	} {
		t.Run(name, func(t *testing.T) {
			key := "lost/" + strings.ReplaceAll(name, " ", "-")
			if tc.before != "" {
				if err := direct.PutIfAbsent(t.Context(), key, []byte(tc.before)); err != nil {
					t.Fatal(err)
				}
			}
			fault, writes := onWrites(tc.times, tc.fault)
			proxy.SetFault(fault)
			if err := store.PutIfAbsent(t.Context(), key, []byte("mine")); !errors.Is(err, tc.want) {
				t.Errorf("PutIfAbsent = %v, want %v", err, tc.want)
			}
			proxy.SetFault(nil)
			if got := writes.Load(); got != tc.writes {
				t.Errorf("%d writes, want %d", got, tc.writes)
			}
			if tc.want == nil {
				wantContent(t, direct, key, "mine")
			}
		})
	}
}

// A server says that it has created an object, and has lost it.
func TestPutIfAbsent_ObjectsThatVanish(t *testing.T) {
	store, direct, proxy := proxied(t, 10*time.Second)
	fault, writes := onWrites(1, storagetest.Pretend)
	proxy.SetFault(fault)
	if err := store.PutIfAbsent(t.Context(), "vanished/once", []byte("mine")); err != nil || writes.Load() != 2 {
		t.Errorf("PutIfAbsent = %v after %d writes, want it to be repeated once", err, writes.Load())
	}
	wantContent(t, direct, "vanished/once", "mine")
	fault, _ = onWrites(100, storagetest.Pretend)
	proxy.SetFault(fault)
	if err := store.PutIfAbsent(t.Context(), "vanished/always", []byte("mine")); !storage.Retriable(err) || !strings.Contains(err.Error(), "but doesn't have it") {
		t.Errorf("PutIfAbsent = %v", err)
	}
	if _, err := store.Swap(t.Context(), "vanished/head", []byte("mine"), ""); !errors.Is(err, storage.ErrUnknownOutcome) {
		t.Errorf("Swap = %v, want %v", err, storage.ErrUnknownOutcome)
	}
}

// A server says of an object that it has just created that there is none, and finds it a moment later.
func TestPutIfAbsent_ObjectsThatSeemToVanish(t *testing.T) {
	store, direct, proxy := proxied(t, 10*time.Second)
	for name, tc := range map[string]struct {
		missing []string // requests that don't find the object once
		writes  int64
	}{
		"unseen by a HEAD":           {missing: []string{http.MethodHead}, writes: 1},
		"unseen by a HEAD and a GET": {missing: []string{http.MethodHead, http.MethodGet}, writes: 2},
	} {
		t.Run(name, func(t *testing.T) {
			var writes atomic.Int64
			missing := tc.missing // the proxy asks under its lock
			proxy.SetFault(func(r *http.Request) storagetest.ProxyFault {
				if r.Method == http.MethodPut {
					writes.Add(1)
				}
				if len(missing) > 0 && r.Method == missing[0] {
					missing = missing[1:]
					return storagetest.Missing
				}
				return storagetest.Pass
			})
			key := "seems/" + strings.ReplaceAll(name, " ", "-")
			if err := store.PutIfAbsent(t.Context(), key, []byte("mine")); err != nil || writes.Load() != tc.writes {
				t.Errorf("PutIfAbsent = %v after %d writes, want success after %d", err, writes.Load(), tc.writes)
			}
			proxy.SetFault(nil)
			wantContent(t, direct, key, "mine")
		})
	}
}

func TestSwap_LostAnswerIsUnknownAndNotRepeated(t *testing.T) {
	store, direct, proxy := proxied(t, time.Second)
	version, err := store.Swap(t.Context(), "head", []byte("0"), "")
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		fault storagetest.ProxyFault
		done  bool
	}{
		"answer lost":   {storagetest.LoseAnswer, true},
		"request lost":  {storagetest.LoseRequest, false},
		"no answer":     {storagetest.Hang, true},
		"not available": {storagetest.Fail, false},
	} {
		t.Run(name, func(t *testing.T) {
			fault, writes := onWrites(100, tc.fault)
			proxy.SetFault(fault)
			_, err := store.Swap(t.Context(), "head", []byte(name), version)
			proxy.SetFault(nil)
			if !errors.Is(err, storage.ErrUnknownOutcome) || !storage.Retriable(err) {
				t.Errorf("Swap = %v, want %v", err, storage.ErrUnknownOutcome)
			}
			if got := writes.Load(); got != 1 {
				t.Errorf("%d writes, want 1", got)
			}
			data, now, err := direct.Get(t.Context(), "head")
			if err != nil || (string(data) == name) != tc.done {
				t.Errorf("Get = %q, %v", data, err)
			}
			version = now
		})
	}
}

func TestReads_AreRepeated(t *testing.T) {
	store, direct, proxy := proxied(t, 10*time.Second)
	if err := direct.PutIfAbsent(t.Context(), "x", []byte("content")); err != nil {
		t.Fatal(err)
	}
	var seen sync.Map // each request is lost the first time
	proxy.SetFault(func(r *http.Request) storagetest.ProxyFault {
		if _, before := seen.LoadOrStore(r.Method+r.URL.Path, true); before {
			return storagetest.Pass
		}
		return storagetest.LoseAnswer
	})
	wantContent(t, store, "x", "content")
	if err := store.Promote(t.Context(), "x", "y"); err != nil {
		t.Error(err)
	}
	wantContent(t, direct, "y", "content")
	if err := store.Delete(t.Context(), "y", "z"); err != nil {
		t.Error(err)
	}
	if err := store.List(t.Context(), "", func(o storage.Object) error { t.Errorf("%s is left", o.Key); return nil }); err != nil {
		t.Error(err)
	}
}

func TestGet_TornAnswers(t *testing.T) {
	const right, other = "9a0364b9e99bb480dd25e1f0284c8555", "00000000000000000000000000000000" // the first is the MD5 of "content"
	for name, tc := range map[string]struct {
		etags []string // of one answer after the other, and the last for all that follow
		want  string
	}{
		"torn once":             {[]string{other, right}, right},
		"other kind of ETag":    {[]string{other}, other},
		"not a sum":             {[]string{"v1"}, "v1"},
		"of a multipart upload": {[]string{other + "-2"}, other + "-2"},
	} {
		t.Run(name, func(t *testing.T) {
			var gets atomic.Int64
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Query().Has("list-type") {
					_, _ = io.WriteString(w, "<ListBucketResult></ListBucketResult>")
					return
				}
				w.Header().Set("ETag", strconv.Quote(tc.etags[min(int(gets.Add(1)), len(tc.etags))-1]))
				w.Header().Set("Last-Modified", "Mon, 02 Jan 2006 15:04:05 GMT")
				_, _ = io.WriteString(w, "content")
			}))
			defer server.Close()
			s := openStore(t, storage.S3Config{Endpoint: server.URL, Bucket: "bucket", AccessKey: "a", SecretKey: "s"})
			data, version, err := s.Get(t.Context(), "x")
			if err != nil || string(data) != "content" || version != tc.want {
				t.Errorf("Get = %q, %q, %v, want version %q", data, version, err, tc.want)
			}
		})
	}
}

func TestCalls_EndAtTheirTimeLimit(t *testing.T) {
	store, _, proxy := proxied(t, 500*time.Millisecond)
	proxy.SetFault(func(*http.Request) storagetest.ProxyFault { return storagetest.Hang })
	begin := time.Now()
	_, _, err := store.Get(t.Context(), "x")
	if !errors.Is(err, context.DeadlineExceeded) || !storage.Retriable(err) || !strings.Contains(err.Error(), "did not answer in time") {
		t.Errorf("Get = %v", err)
	}
	if err := store.PutIfAbsent(t.Context(), "x", nil); !errors.Is(err, storage.ErrUnknownOutcome) {
		t.Errorf("PutIfAbsent = %v, want %v", err, storage.ErrUnknownOutcome)
	}
	if took := time.Since(begin); took > 15*time.Second {
		t.Errorf("two calls took %v", took)
	}
}

func TestOpen_BadConfiguration(t *testing.T) {
	server := storagetest.StartVersityGW(t)
	good := server.Config("weir", "")
	closed := "http://" + freePort(t)
	for name, tc := range map[string]struct {
		change func(*storage.S3Config)
		want   []string
	}{
		"unknown bucket":       {func(c *storage.S3Config) { c.Bucket = "nowhere" }, []string{"nowhere", "bucket doesn't exist", "create it"}},
		"wrong access key":     {func(c *storage.S3Config) { c.AccessKey = "stranger" }, []string{"access key", "AWS_ACCESS_KEY_ID"}},
		"wrong secret key":     {func(c *storage.S3Config) { c.SecretKey = "guess" }, []string{"secret key is wrong", "AWS_SECRET_ACCESS_KEY"}},
		"unreachable endpoint": {func(c *storage.S3Config) { c.Endpoint = closed }, []string{closed, "can't be reached", "check the endpoint"}},
		"unknown host":         {func(c *storage.S3Config) { c.Endpoint = "http://weir.invalid" }, []string{"weir.invalid", "check the endpoint"}},
		"TLS to a plain port": {
			func(c *storage.S3Config) { c.Endpoint = strings.Replace(c.Endpoint, "http", "https", 1) },
			[]string{"doesn't speak TLS", "http://"},
		},
		"no URL":               {func(c *storage.S3Config) { c.Endpoint = "localhost:9000" }, []string{"localhost:9000", "https://host:port"}},
		"secret in endpoint":   {func(c *storage.S3Config) { c.Endpoint = "http://me:hunter2@host" }, []string{"holds credentials"}},
		"bucket in endpoint":   {func(c *storage.S3Config) { c.Endpoint += "/weir" }, []string{"more than a host"}},
		"no bucket":            {func(c *storage.S3Config) { c.Bucket = "" }, []string{"no bucket"}},
		"bucket with bad name": {func(c *storage.S3Config) { c.Bucket = "No_Bucket!" }, []string{"No_Bucket!", "ucket"}},
		"bad prefix":           {func(c *storage.S3Config) { c.Prefix = "a/../b" }, []string{"not allowed"}},
		"bad CA bundle":        {func(c *storage.S3Config) { c.CABundle = "nonsense" }, []string{"no certificate", "PEM"}},
		"no credentials":       {func(c *storage.S3Config) { c.AccessKey, c.SecretKey = "", "" }, []string{"no credentials", "AWS_ACCESS_KEY_ID"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("AWS_ACCESS_KEY_ID", "")
			cfg := good
			cfg.Timeout = 10 * time.Second
			tc.change(&cfg)
			begin := time.Now()
			s, err := s3store.Open(t.Context(), cfg)
			if err == nil {
				t.Fatalf("Open gives %v", s)
			}
			for _, want := range tc.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("Open: %v\nwant %q in it", err, want)
				}
			}
			if strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), storagetest.SecretKey) {
				t.Errorf("the error holds a secret: %v", err)
			}
			if took := time.Since(begin); took > 15*time.Second {
				t.Errorf("it took %v", took)
			}
			t.Log(err)
		})
	}
}

func freePort(t *testing.T) string {
	t.Helper()
	var config net.ListenConfig
	listener, err := config.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}
