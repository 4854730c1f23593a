// SPDX-License-Identifier: Apache-2.0

// Package handover tests that the engine takes what the operator hands to it: certificates, command lines and the
// configuration of a job. Neither may import the other.
package handover

import (
	"crypto/tls"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
	"github.com/weir-stream/weir/controllers/streamjob/certs"
	"github.com/weir-stream/weir/runtime/transport"
)

// mounted writes the secrets of a job to directories, as Kubernetes mounts them.
func mounted(t *testing.T) (directories map[certs.Role]string, client *corev1.Secret) {
	t.Helper()
	job := &streamv1.StreamJob{ObjectMeta: metav1.ObjectMeta{Name: "clicks", Namespace: "prod", UID: "1"}}
	apply, _, err := certs.Secrets(job, nil, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	directories = map[certs.Role]string{}
	for _, role := range certs.Roles() {
		directories[role] = t.TempDir()
		for _, s := range apply {
			if *s.Name != certs.SecretName(job.Name, role) {
				continue
			}
			for key, value := range s.Data {
				if err := os.WriteFile(filepath.Join(directories[role], key), value, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if role == certs.Client {
				client = &corev1.Secret{Data: s.Data}
			}
		}
	}
	return directories, client
}

// meet makes a TLS connection and returns what server and client say of it.
func meet(t *testing.T, server, client *tls.Config) (error, error) {
	t.Helper()
	a, b := net.Pipe()
	t.Cleanup(func() { _, _ = a.Close(), b.Close() })
	accepted := make(chan error, 1)
	go func() {
		err := tls.Server(a, server).HandshakeContext(t.Context())
		if err != nil {
			_ = a.Close()
		}
		accepted <- err
	}()
	dialed := tls.Client(b, client).HandshakeContext(t.Context())
	_ = b.Close()
	return <-accepted, dialed
}

func config(t *testing.T) func(*tls.Config, error) *tls.Config {
	return func(c *tls.Config, err error) *tls.Config {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
}

func TestSecrets_AreWhatTheEngineReads(t *testing.T) {
	directories, clientSecret := mounted(t)
	must := config(t)
	coordinator := transport.CertFiles(directories[certs.Coordinator], "coordinator")
	worker := transport.CertFiles(directories[certs.Worker], "worker")
	client := transport.CertFiles(directories[certs.Client], "client")
	control := must(coordinator.Server(transport.RoleWorker))
	api := must(coordinator.Server(transport.RoleClient, transport.RoleCoordinator))
	tests := map[string]struct {
		server, client *tls.Config
		want           bool
	}{
		"a worker registers":                      {control, must(worker.Client(transport.RoleCoordinator)), true},
		"a worker sends to another":               {must(worker.Server(transport.RoleWorker)), must(worker.Client(transport.RoleWorker)), true},
		"the command line tool calls the API":     {api, must(client.Client(transport.RoleCoordinator)), true},
		"the operator calls the API":              {api, must(certs.ClientTLS(clientSecret)), true},
		"a worker calls the API":                  {api, must(worker.Client(transport.RoleCoordinator)), false},
		"a client registers":                      {control, must(client.Client(transport.RoleCoordinator)), false},
		"a worker is taken for the coordinator":   {must(worker.Server(transport.RoleWorker)), must(worker.Client(transport.RoleCoordinator)), false},
		"the operator calls what is a worker":     {must(worker.Server(transport.RoleClient)), must(certs.ClientTLS(clientSecret)), false},
		"the command line tool calls without any": {api, &tls.Config{MinVersion: tls.VersionTLS13, InsecureSkipVerify: true}, false},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			accepted, dialed := meet(t, tc.server, tc.client)
			if got := accepted == nil && dialed == nil; got != tc.want {
				t.Errorf("server: %v, client: %v; want it to be accepted: %t", accepted, dialed, tc.want)
			}
		})
	}
}

func TestSecrets_OfAnotherJobAreRefused(t *testing.T) {
	ours, _ := mounted(t)
	theirs, theirClient := mounted(t)
	must := config(t)
	files := transport.CertFiles(ours[certs.Coordinator], "coordinator")
	if accepted, dialed := meet(t, must(files.Server(transport.RoleClient)), must(certs.ClientTLS(theirClient))); accepted == nil && dialed == nil {
		t.Error("the operator's client of another job is accepted")
	}
	worker := transport.CertFiles(theirs[certs.Worker], "worker")
	if accepted, dialed := meet(t, must(files.Server(transport.RoleWorker)), must(worker.Client(transport.RoleCoordinator))); accepted == nil && dialed == nil {
		t.Error("the worker of another job is accepted")
	}
}
