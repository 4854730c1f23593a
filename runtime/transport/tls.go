// SPDX-License-Identifier: Apache-2.0

package transport

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
)

// Role is what a certificate says its holder is: a DNS name among its alternative names. All
// certificates of a job come from a CA of its own, so that the role is identity enough and
// holds wherever the process runs.
type Role string

// The roles.
const (
	RoleCoordinator Role = "coordinator.weir.internal"
	RoleWorker      Role = "worker.weir.internal"
	RoleClient      Role = "client.weir.internal"
)

// TLSConfig names the files of one process: its certificate and key and the CA of the job, all
// in PEM. All are read again at each handshake, so that they can be replaced in place, those of the CA too: connections that there are go on, and new ones
// are made and judged by what the files hold then. The file of the CA may hold several, of which any is trusted: for the time in which
// some processes have a certificate of the next CA already.
type TLSConfig struct {
	CertFile string
	KeyFile  string
	CAFile   string
}

// Client returns the configuration for dialing a server of the given role.
func (c TLSConfig) Client(server Role) (*tls.Config, error) {
	s, err := c.open()
	if err != nil {
		return nil, err
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		ServerName: string(server),
		// VerifyConnection does all that is skipped, by the CA as it is at the time of the handshake.
		InsecureSkipVerify: true, //nolint:gosec // see above
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return s.certificate(), nil
		},
		VerifyConnection: func(cs tls.ConnectionState) error {
			return s.verify(cs, x509.VerifyOptions{DNSName: string(server), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
		},
	}, nil
}

// Server returns the configuration for accepting clients of the given roles. It demands a certificate and verifies it with VerifyConnection, so that
// the chains that package tls verifies by itself stay empty.
func (c TLSConfig) Server(clients ...Role) (*tls.Config, error) {
	s, err := c.open()
	if err != nil {
		return nil, err
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		ClientAuth: tls.RequireAnyClientCert,
		// A resumed session would stay with the certificates of its first handshake.
		SessionTicketsDisabled: true,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return s.certificate(), nil
		},
		VerifyConnection: func(cs tls.ConnectionState) error {
			if err := s.verify(cs, x509.VerifyOptions{KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
				return err
			}
			return hasRole(cs, clients)
		},
	}, nil
}

// source reads the files of a [TLSConfig] for each handshake. What can't be read, such as in the middle of a replacement, stays as it was.
// Safe for concurrent use.
type source struct {
	files TLSConfig
	mu    struct {
		sync.Mutex
		pair *tls.Certificate
		ca   *x509.CertPool
	}
}

// open reads all three files for the first time.
func (c TLSConfig) open() (*source, error) {
	s := &source{files: c}
	var err error
	if s.mu.pair, err = c.pair(); err != nil {
		return nil, err
	}
	s.mu.ca, err = c.authorities()
	return s, err
}

// certificate is that of the file, with its key.
func (s *source) certificate() *tls.Certificate {
	pair, err := s.files.pair()
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil {
		s.mu.pair = pair
	}
	return s.mu.pair
}

// roots are the CAs of the file.
func (s *source) roots() *x509.CertPool {
	ca, err := s.files.authorities()
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil {
		s.mu.ca = ca
	}
	return s.mu.ca
}

// verify checks that the certificate of the peer is of a CA that is trusted now.
func (s *source) verify(cs tls.ConnectionState, o x509.VerifyOptions) error {
	if len(cs.PeerCertificates) == 0 {
		return errors.New("checking the peer's certificate: there is none")
	}
	o.Roots, o.Intermediates = s.roots(), x509.NewCertPool()
	for _, c := range cs.PeerCertificates[1:] {
		o.Intermediates.AddCert(c)
	}
	if _, err := cs.PeerCertificates[0].Verify(o); err != nil {
		return &tls.CertificateVerificationError{UnverifiedCertificates: cs.PeerCertificates, Err: err}
	}
	return nil
}

// authorities reads the CAs.
func (c TLSConfig) authorities() (*x509.CertPool, error) {
	pem, err := os.ReadFile(c.CAFile)
	if err != nil {
		return nil, fmt.Errorf("reading the CA certificate: %w", err)
	}
	ca := x509.NewCertPool()
	if !ca.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("reading the CA certificate: %s holds no certificate in PEM", c.CAFile)
	}
	return ca, nil
}

// pair reads certificate and key.
func (c TLSConfig) pair() (*tls.Certificate, error) {
	cert, err := tls.LoadX509KeyPair(c.CertFile, c.KeyFile)
	if err != nil {
		return nil, fmt.Errorf("reading certificate %s and key %s: %w", c.CertFile, c.KeyFile, err)
	}
	return &cert, nil
}

// hasRole checks that the peer's certificate has one of the roles.
func hasRole(s tls.ConnectionState, roles []Role) error {
	if len(s.PeerCertificates) == 0 {
		return errors.New("checking the peer's certificate: there is none")
	}
	names := s.PeerCertificates[0].DNSNames
	for _, r := range roles {
		if slices.Contains(names, string(r)) {
			return nil
		}
	}
	return fmt.Errorf("checking the peer's certificate: it is for %v, want one of %v", names, roles)
}
