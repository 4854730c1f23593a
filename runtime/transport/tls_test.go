// SPDX-License-Identifier: Apache-2.0

package transport

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestTLSConfigNamesTheFileThatIsWrong(t *testing.T) {
	dir := t.TempDir()
	if err := GenerateCerts(dir, []string{"example.test", "10.0.0.1"}); err != nil {
		t.Fatal(err)
	}
	bad := filepath.Join(dir, "bad.pem")
	if err := os.WriteFile(bad, []byte("no PEM"), 0o600); err != nil {
		t.Fatal(err)
	}
	good := CertFiles(dir, "worker")
	tests := map[string]struct {
		change func(*TLSConfig)
		want   string
	}{
		"no certificate":    {change: func(c *TLSConfig) { c.CertFile = filepath.Join(dir, "none.crt") }, want: "none.crt"},
		"no key":            {change: func(c *TLSConfig) { c.KeyFile = filepath.Join(dir, "none.key") }, want: "none.key"},
		"key of another":    {change: func(c *TLSConfig) { c.KeyFile = filepath.Join(dir, "client.key") }, want: "client.key"},
		"no CA":             {change: func(c *TLSConfig) { c.CAFile = filepath.Join(dir, "none.pem") }, want: "none.pem"},
		"CA that is no PEM": {change: func(c *TLSConfig) { c.CAFile = bad }, want: "bad.pem holds no certificate"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			c := good
			tc.change(&c)
			for side, err := range map[string]error{"client": second(c.Client(RoleWorker)), "server": second(c.Server(RoleWorker))} {
				if err == nil || !strings.Contains(err.Error(), tc.want) {
					t.Errorf("%s: %v; want it to name %q", side, err, tc.want)
				}
			}
		})
	}
	if _, err := good.Client(RoleCoordinator); err != nil {
		t.Error(err)
	}
}

func second[T any](_ T, err error) error { return err }

// rotation holds two sets of certificates of different CAs, and the directory that a running process reads.
type rotation struct {
	t              *testing.T
	old, next, dir string
}

func newRotation(t *testing.T) *rotation {
	t.Helper()
	r := &rotation{t: t, old: t.TempDir(), next: t.TempDir(), dir: t.TempDir()}
	for _, d := range []string{r.old, r.next, r.dir} {
		if err := GenerateCerts(d, nil); err != nil {
			t.Fatal(err)
		}
	}
	r.authorities(r.old)
	r.certificates(r.old)
	return r
}

// authorities makes the process trust those of the sets.
func (r *rotation) authorities(sets ...string) {
	r.t.Helper()
	var pem []byte
	for _, set := range sets {
		b, err := os.ReadFile(filepath.Join(set, "ca.crt"))
		if err != nil {
			r.t.Fatal(err)
		}
		pem = append(pem, b...)
	}
	if err := os.WriteFile(filepath.Join(r.dir, "ca.crt"), pem, 0o600); err != nil {
		r.t.Fatal(err)
	}
}

// certificates gives the process those of a set.
func (r *rotation) certificates(set string) {
	r.t.Helper()
	for _, name := range []string{"coordinator.crt", "coordinator.key", "worker.crt", "worker.key"} {
		b, err := os.ReadFile(filepath.Join(set, name))
		if err != nil {
			r.t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(r.dir, name), b, 0o600); err != nil {
			r.t.Fatal(err)
		}
	}
}

// shake makes a handshake and returns what each side says.
func shake(t *testing.T, client, server *tls.Config) (clientErr, serverErr error) {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	done := make(chan error, 1)
	go func() {
		b, err := l.Accept()
		if err != nil {
			done <- err
			return
		}
		s := tls.Server(b, server)
		if err = s.HandshakeContext(t.Context()); err == nil {
			_, err = s.Write([]byte("x")) // the client hears of a refusal when it reads only
		}
		_ = b.Close()
		done <- err
	}()
	a, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	_ = a.SetDeadline(time.Now().Add(20 * time.Second))
	c := tls.Client(a, client)
	if clientErr = c.HandshakeContext(t.Context()); clientErr == nil {
		_, clientErr = io.ReadFull(c, make([]byte, 1))
	}
	_ = a.Close()
	return clientErr, <-done
}

// A process whose files are replaced makes and judges connections by the new ones; the same configurations serve all the time.
func TestTLSConfigFollowsItsFiles(t *testing.T) {
	r := newRotation(t)
	server, err := CertFiles(r.dir, "coordinator").Server(RoleWorker)
	if err != nil {
		t.Fatal(err)
	}
	client, err := CertFiles(r.dir, "worker").Client(RoleCoordinator)
	if err != nil {
		t.Fatal(err)
	}
	client.ClientSessionCache = tls.NewLRUClientSessionCache(4) // nothing of an earlier certificate is resumed
	worker := func(set string) *tls.Config {
		c, err := CertFiles(set, "worker").Client(RoleCoordinator)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	oldWorker, nextWorker := worker(r.old), worker(r.next)
	both := func(set string) *tls.Config { // trusts both, with the certificate of one
		dir := t.TempDir()
		here := &rotation{t: t, dir: dir}
		here.certificates(set)
		here.authorities(r.old, r.next)
		return worker(dir)
	}
	oldBoth, nextBoth := both(r.old), both(r.next)
	check := func(step string, config *tls.Config, want bool) {
		t.Helper()
		clientErr, serverErr := shake(t, config, server)
		if ok := clientErr == nil && serverErr == nil; ok != want {
			t.Errorf("%s: connected %v, want %v: client %v, server %v", step, ok, want, clientErr, serverErr)
		}
	}
	check("before", client, true)
	check("before, the old set", oldWorker, true)
	check("before, the next set", nextBoth, false)
	r.authorities(r.old, r.next)
	check("both are trusted", client, true)
	check("both are trusted, the next certificate", nextBoth, true)
	check("both are trusted, the old set", oldWorker, true)
	check("both are trusted, the next set alone", nextWorker, false) // it doesn't trust the server yet
	r.certificates(r.next)
	check("the next certificate", client, true)
	check("the next certificate, the old one with both trusted", oldBoth, true)
	r.authorities(r.next)
	check("after", client, true)
	check("after, the next set", nextWorker, true)
	check("after, the old certificate with both trusted", oldBoth, false)
	check("after, the old set", oldWorker, false)
}

// Files that can't be read for a moment, in the middle of a replacement, change nothing.
func TestTLSConfigSurvivesAHalfWrittenFile(t *testing.T) {
	r := newRotation(t)
	server, err := CertFiles(r.dir, "coordinator").Server(RoleWorker)
	if err != nil {
		t.Fatal(err)
	}
	client, err := CertFiles(r.dir, "worker").Client(RoleCoordinator)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"ca.crt", "coordinator.crt", "worker.key"} {
		if err := os.WriteFile(filepath.Join(r.dir, name), []byte("-----BEGIN"), 0o600); err != nil {
			t.Fatal(err)
		}
		if clientErr, serverErr := shake(t, client, server); clientErr != nil || serverErr != nil {
			t.Errorf("with half of %s: client %v, server %v", name, clientErr, serverErr)
		}
	}
}

// A certificate of another role, none, or one that has expired is refused.
func TestTLSConfigRefusesOthers(t *testing.T) {
	dir, other := t.TempDir(), t.TempDir()
	for _, d := range []string{dir, other} {
		if err := GenerateCerts(d, nil); err != nil {
			t.Fatal(err)
		}
	}
	expired := t.TempDir()
	now := time.Now()
	ca, err := newAuthority(now)
	if err == nil {
		err = errors.Join(
			writePEM(filepath.Join(expired, "ca.crt"), "CERTIFICATE", ca.cert.Raw, 0o600),
			ca.issue(CertFiles(expired, "coordinator"), RoleCoordinator, nil, now),
			ca.issue(CertFiles(expired, "worker"), RoleWorker, nil, now.Add(-2*certLifetime)))
	}
	if err != nil {
		t.Fatal(err)
	}
	config := func(set, role string, server Role) *tls.Config {
		c, err := CertFiles(set, role).Client(server)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	without := config(dir, "worker", RoleCoordinator)
	without.GetClientCertificate = nil
	tests := map[string]struct {
		set    string
		client *tls.Config
	}{
		"another role":             {dir, config(dir, "client", RoleCoordinator)},
		"another job's":            {dir, config(other, "worker", RoleCoordinator)},
		"no certificate":           {dir, without},
		"a server of another role": {dir, config(dir, "worker", RoleWorker)},
		"an expired one":           {expired, config(expired, "worker", RoleCoordinator)},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			server, err := CertFiles(tc.set, "coordinator").Server(RoleWorker)
			if err != nil {
				t.Fatal(err)
			}
			clientErr, serverErr := shake(t, tc.client, server)
			if clientErr == nil && serverErr == nil {
				t.Error("it is let in")
			}
			t.Log(clientErr, serverErr)
		})
	}
}
