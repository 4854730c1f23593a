// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/weir-stream/weir/hack/e2e/stage"
)

// store is an object store in front of the real one, which fails on demand.
type store struct {
	t    *testing.T
	http *http.Client
	// endpoint is where jobs find it, host the same without a scheme.
	endpoint, host string
}

// faultyStore starts one in the namespace.
func (s *scenario) faultyStore() *store {
	s.Helper()
	const name = "faulty"
	s.before(name, faultySpec())
	host := name + "." + s.ns + ".svc:9000"
	transport := &http.Transport{DialContext: suite.access.Dial, DisableKeepAlives: true}
	f := &store{t: s.T, http: &http.Client{Transport: transport, Timeout: 10 * time.Second}, endpoint: "http://" + host, host: host}
	s.eventually("the object store that fails on demand", func() string {
		if _, err := f.ask(s.Context(), http.MethodPost, "?set=ok"); err != nil {
			return err.Error()
		}
		return ""
	})
	return f
}

func faultySpec() corev1.PodSpec { return toolSpec("s3fault", ":9000", stage.S3Addr) }

// ask sends a request about the mode, and returns the answer.
func (f *store) ask(ctx context.Context, method, query string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://"+f.host+"/_mode"+query, http.NoBody)
	if err != nil {
		return "", err
	}
	res, err := f.http.Do(req)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	text := strings.TrimSpace(string(b))
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", res.Status, text)
	}
	return text, err
}

// change has the store work as a mode says, such as "denied" or "slow&delay=300ms".
func (f *store) change(ctx context.Context, mode string) error {
	if _, err := f.ask(ctx, http.MethodPost, "?set="+mode); err != nil {
		return fmt.Errorf("setting the store to %s: %w", mode, err)
	}
	return nil
}

// set is change in a test.
func (f *store) set(mode string) {
	f.t.Helper()
	if err := f.change(f.t.Context(), mode); err != nil {
		f.t.Fatal(err)
	}
}

// met says how many requests the mode has refused or held up since it was set, of those that came from the given addresses, or of all.
func (f *store) met(from ...string) (n int) {
	f.t.Helper()
	text, err := f.ask(f.t.Context(), http.MethodGet, "")
	if err != nil {
		f.t.Fatalf("asking the store what it has met: %v", err)
	}
	hits := map[string]int{}
	if err := json.Unmarshal([]byte(text), &hits); err != nil {
		f.t.Fatalf("the store says it has met %q: %v", text, err)
	}
	for address, hit := range hits {
		if len(from) == 0 || slices.Contains(from, address) {
			n += hit
		}
	}
	return n
}

// delivery is a commit that the store has held back, and how it was answered in the end.
type delivery struct {
	Status int
	Body   string
}

// deliver lets the request that the store holds back go on.
func (f *store) deliver() (d delivery) {
	f.t.Helper()
	text, err := f.ask(f.t.Context(), http.MethodPost, "?deliver")
	if err == nil {
		err = json.Unmarshal([]byte(text), &d)
	}
	if err != nil {
		f.t.Fatalf("delivering what the store holds back: %v", err)
	}
	return d
}

var checkpointPath = regexp.MustCompile(`/chk-(\d+)/`)

// checkpoint is the id of the newest checkpoint that a commit has in its head.
func (d delivery) checkpoint(t *testing.T) (newest int64) {
	t.Helper()
	for _, m := range checkpointPath.FindAllStringSubmatch(d.Body, -1) {
		id, err := strconv.ParseInt(m[1], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		newest = max(newest, id)
	}
	if newest == 0 {
		t.Fatalf("the commit names no checkpoint: %s", d.Body)
	}
	return newest
}
