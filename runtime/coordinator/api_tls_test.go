// SPDX-License-Identifier: Apache-2.0

package coordinator

import (
	"crypto/tls"
	"net"
	"net/http"
	"testing"

	"github.com/go-logr/logr"

	"github.com/weir-stream/weir/runtime/contract"
	"github.com/weir-stream/weir/runtime/transport"
)

// Only health checks answer without a certificate, and only a client's certificate will do.
func TestAPI_MutualTLS(t *testing.T) {
	dir := t.TempDir()
	if err := transport.GenerateCerts(dir, nil); err != nil {
		t.Fatal(err)
	}
	server, err := transport.CertFiles(dir, "coordinator").Server(transport.RoleClient)
	if err != nil {
		t.Fatal(err)
	}
	s := newAPIServer(&fakeControl{job: contract.JobStatus{Name: "test"}}, http.NotFoundHandler(), server, logr.Discard())
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- serveAPI(s, l) }()
	defer func() {
		_ = s.Close()
		if err := <-served; err != nil {
			t.Error(err)
		}
	}()

	client := func(role string) *tls.Config {
		c, err := transport.CertFiles(dir, role).Client(transport.RoleCoordinator)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	without := client("client")
	without.GetClientCertificate = nil
	job := func(c *tls.Config) error {
		api, err := contract.NewClient(l.Addr().String(), contract.ClientOptions{TLS: c})
		if err != nil {
			t.Fatal(err)
		}
		defer api.Close()
		_, err = api.Job(t.Context())
		return err
	}
	if err := job(client("client")); err != nil {
		t.Errorf("with a client's certificate: %v", err)
	}
	if err := job(client("worker")); err == nil {
		t.Error("a worker's certificate is accepted")
	}
	if err := job(without); err == nil || err.Error() != "a client certificate is needed (use one signed by the authority of the job)" {
		t.Errorf("without a certificate: %v", err)
	}
	h := &http.Client{Transport: &http.Transport{TLSClientConfig: without}}
	defer h.CloseIdleConnections()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+l.Addr().String()+contract.PathHealth, nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := h.Do(req)
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("a health check without a certificate: %v, %v", res, err)
	}
	_ = res.Body.Close()
}
