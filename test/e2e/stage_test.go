// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e_test

import (
	"context"
	"fmt"
	"net/http"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/weir-stream/weir/hack/e2e/stage"
)

// TestStage_ReachesIntoTheCluster checks what the scenarios rely on: the store, ways to addresses of the cluster, and signals.
func TestStage_ReachesIntoTheCluster(t *testing.T) {
	t.Parallel()
	s := newScenario(t, "stage")
	store := s.open(s.ns)
	if err := store.PutIfAbsent(t.Context(), "key", []byte("value")); err != nil {
		t.Fatal(err)
	}
	if got, _, err := store.Get(t.Context(), "key"); err != nil || string(got) != "value" {
		t.Fatalf("read %q, %v", got, err)
	}

	relay := s.relay()
	addr := "relay." + s.ns + ".svc:9000"
	s.wantHealth(addr, true)
	s.signal(relay, stage.Stop)
	s.wantHealth(addr, false)
	s.signal(relay, stage.Continue)
	s.wantHealth(addr, true)

	s.signal(relay, stage.Kill)
	s.eventually("the relay to be started again", func() string {
		pod := &corev1.Pod{}
		if err := suite.client.Get(t.Context(), client.ObjectKeyFromObject(relay), pod); err != nil {
			return err.Error()
		}
		if n := pod.Status.ContainerStatuses[0].RestartCount; n != 1 {
			return fmt.Sprintf("it was restarted %d times", n)
		}
		return ""
	})
	s.wantHealth(addr, true)
}

// wantHealth asks the S3 server behind an address whether it is healthy, with a time limit of its own for each try.
func (s *scenario) wantHealth(addr string, healthy bool) {
	s.Helper()
	transport := &http.Transport{DialContext: suite.access.Dial, DisableKeepAlives: true}
	ask := func() error {
		ctx, cancel := context.WithTimeout(s.Context(), time.Second)
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/health", nil)
		if err != nil {
			return err
		}
		res, err := transport.RoundTrip(req)
		if err != nil {
			return err
		}
		_ = res.Body.Close()
		return nil
	}
	s.eventually(fmt.Sprintf("the S3 server to be healthy: %t", healthy), func() string {
		if err := ask(); (err == nil) != healthy {
			return fmt.Sprintf("asking it: %v", err)
		}
		return ""
	})
}
