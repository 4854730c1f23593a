// SPDX-License-Identifier: Apache-2.0

// Package handover tests that the engine takes what the operator hands to it: certificates, command lines and the
// configuration of a job. Neither may import the other.
package handover

import (
	"crypto/tls"
	"errors"
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
	return mountedAt(t, time.Now())
}

// mountedAt does that with secrets that were made at a time.
func mountedAt(t *testing.T, now time.Time) (directories map[certs.Role]string, client *corev1.Secret) {
	t.Helper()
	job := &streamv1.StreamJob{ObjectMeta: metav1.ObjectMeta{Name: "clicks", Namespace: "prod", UID: "1"}}
	apply, _, err := certs.Secrets(job, nil, now)
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
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0") // not a pipe: both sides may have something to say at once
	if err != nil {
		t.Fatal(err)
	}
	b, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	a, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _, _ = a.Close(), b.Close(), l.Close() })
	deadline := time.Now().Add(time.Minute)
	if err := errors.Join(a.SetDeadline(deadline), b.SetDeadline(deadline)); err != nil {
		t.Fatal(err)
	}
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

// TestPorts_RefuseWhoDoesNotBelong tries to get in through each port of a job, as whoever reaches it might.
func TestPorts_RefuseWhoDoesNotBelong(t *testing.T) {
	ours, _ := mounted(t)
	theirs, _ := mounted(t)
	expired, _ := mountedAt(t, time.Now().AddDate(-2, 0, 0))
	early, _ := mountedAt(t, time.Now().AddDate(0, 0, 3))
	must := config(t)
	files := func(directories map[certs.Role]string, role certs.Role) transport.TLSConfig {
		return transport.CertFiles(directories[role], string(role))
	}
	coordinator, worker := files(ours, certs.Coordinator), files(ours, certs.Worker)
	ports := map[string]struct {
		server *tls.Config
		role   certs.Role // who may
		name   transport.Role
	}{
		"control": {must(coordinator.Server(transport.RoleWorker)), certs.Worker, transport.RoleCoordinator},
		"api":     {must(coordinator.Server(transport.RoleClient, transport.RoleCoordinator)), certs.Client, transport.RoleCoordinator},
		"data":    {must(worker.Server(transport.RoleWorker)), certs.Worker, transport.RoleWorker},
	}
	// trusting has the certificate of a directory, and takes any server: it's the server that must refuse.
	trusting := func(directories map[certs.Role]string, role certs.Role, server transport.Role) *tls.Config {
		c := must(files(directories, role).Client(server))
		c.VerifyConnection = nil
		return c
	}
	for name, port := range ports {
		t.Run(name, func(t *testing.T) {
			attackers := map[string]*tls.Config{
				"without a certificate":       {MinVersion: tls.VersionTLS13, InsecureSkipVerify: true},
				"of another job":              trusting(theirs, port.role, port.name),
				"expired":                     trusting(expired, port.role, port.name),
				"not valid yet":               trusting(early, port.role, port.name),
				"an older version of TLS":     {MaxVersion: tls.VersionTLS12, InsecureSkipVerify: true},
				"the server's own, sent back": trusting(ours, certs.Coordinator, port.name),
			}
			if name == "api" {
				delete(attackers, "the server's own, sent back") // coordinators of a job hand over to each other
			}
			for who, client := range attackers {
				accepted, _ := meet(t, port.server, client)
				if accepted == nil {
					t.Errorf("%s is let in", who)
				}
			}
			if accepted, dialed := meet(t, port.server, must(files(ours, port.role).Client(port.name))); accepted != nil || dialed != nil {
				t.Errorf("who belongs there is refused: %v, %v", accepted, dialed)
			}
			// And the other way round: nobody of ours talks to a server that isn't of the job.
			for who, directories := range map[string]map[certs.Role]string{"another job": theirs, "an expired one": expired} {
				role := certs.Coordinator
				if name == "data" {
					role = certs.Worker
				}
				server := must(files(directories, role).Server(transport.RoleWorker, transport.RoleClient))
				server.ClientAuth, server.VerifyConnection = tls.NoClientCert, nil
				if _, dialed := meet(t, server, must(files(ours, port.role).Client(port.name))); dialed == nil {
					t.Errorf("the server of %s is believed", who)
				}
			}
		})
	}
}
