// SPDX-License-Identifier: Apache-2.0

package transport

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"slices"
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
// in PEM. Certificate and key are read again at each handshake, so that they can be renewed in place.
type TLSConfig struct {
	CertFile string
	KeyFile  string
	CAFile   string
}

// Client returns the configuration for dialing a server of the given role.
func (c TLSConfig) Client(server Role) (*tls.Config, error) {
	ca, err := c.load()
	if err != nil {
		return nil, err
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		RootCAs:    ca,
		ServerName: string(server),
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return c.pair()
		},
	}, nil
}

// Server returns the configuration for accepting clients of the given roles.
func (c TLSConfig) Server(clients ...Role) (*tls.Config, error) {
	ca, err := c.load()
	if err != nil {
		return nil, err
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		ClientAuth: tls.RequireAndVerifyClientCert,
		ClientCAs:  ca,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return c.pair()
		},
		VerifyConnection: func(s tls.ConnectionState) error {
			return hasRole(s, clients)
		},
	}, nil
}

// load checks all three files and returns the CA.
func (c TLSConfig) load() (*x509.CertPool, error) {
	if _, err := c.pair(); err != nil {
		return nil, err
	}
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
