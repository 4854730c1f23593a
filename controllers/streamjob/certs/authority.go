// SPDX-License-Identifier: Apache-2.0

package certs

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"time"
)

const (
	day = 24 * time.Hour
	// leafLife is how long the certificate of a role is valid, authorityLife how long that of an authority is.
	leafLife      = 365 * day
	authorityLife = 10 * leafLife
	// skew is how far back certificates start, since clocks differ.
	skew = time.Hour
)

// Types of PEM blocks.
const (
	certBlock = "CERTIFICATE"
	keyBlock  = "PRIVATE KEY"
)

// Role is what a certificate says its holder is.
type Role string

// The roles.
const (
	Coordinator Role = "coordinator"
	Worker      Role = "worker"
	Client      Role = "client"
)

// Roles returns all roles.
func Roles() []Role { return []Role{Coordinator, Worker, Client} }

// ServerName returns the name that a certificate of the role carries: what a client verifies a server by.
func (r Role) ServerName() string { return string(r) + ".weir.internal" }

// Authority is the certificate authority of a job.
type Authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// NewAuthority makes one with a new key, valid for ten years.
func NewAuthority(now time.Time) (*Authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making the key of a certificate authority: %w", err)
	}
	return newAuthority(key, now)
}

func newAuthority(key *ecdsa.PrivateKey, now time.Time) (*Authority, error) {
	t := template("Weir job CA", now, authorityLife)
	t.IsCA = true
	t.BasicConstraintsValid = true
	t.MaxPathLenZero = true
	t.KeyUsage = x509.KeyUsageCertSign
	der, err := x509.CreateCertificate(rand.Reader, t, t, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("making the certificate of a certificate authority: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("making the certificate of a certificate authority: %w", err)
	}
	return &Authority{cert: cert, key: key}, nil
}

// Renew returns the authority with a new certificate for the same key: what it has issued, and will issue, is trusted by
// those who know the old certificate and by those who know the new one.
func (a *Authority) Renew(now time.Time) (*Authority, error) { return newAuthority(a.key, now) }

// ParseAuthority reads one from its certificate and key in PEM.
func ParseAuthority(certPEM, keyPEM []byte) (*Authority, error) {
	cert, err := parseCert(certPEM)
	if err != nil {
		return nil, fmt.Errorf("reading a certificate authority: %w", err)
	}
	block, _ := pem.Decode(keyPEM)
	if block == nil || block.Type != keyBlock {
		return nil, fmt.Errorf("reading a certificate authority: its key is not a PEM block %q", keyBlock)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("reading the key of a certificate authority: %w", err)
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("reading the key of a certificate authority: want an ECDSA key, got %T", parsed)
	}
	if !key.PublicKey.Equal(cert.PublicKey) {
		return nil, errors.New("reading a certificate authority: certificate and key do not belong together")
	}
	if !cert.IsCA {
		return nil, errors.New("reading a certificate authority: its certificate is not that of an authority")
	}
	return &Authority{cert: cert, key: key}, nil
}

// PEM returns certificate and key in PEM.
func (a *Authority) PEM() (cert, key []byte) {
	keyPEM, err := encodeKey(a.key)
	if err != nil {
		panic(err) // every key of the curve can be encoded
	}
	return encodeCert(a.cert.Raw), keyPEM
}

// Issue returns a new certificate of a role and its key, in PEM. It is valid for a year, for servers and clients.
func (a *Authority) Issue(role Role, now time.Time) (cert, key []byte, err error) {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("making the key of a %s: %w", role, err)
	}
	t := template(role.ServerName(), now, leafLife)
	if t.NotAfter.After(a.cert.NotAfter) {
		t.NotAfter = a.cert.NotAfter
	}
	t.DNSNames = []string{role.ServerName()}
	t.KeyUsage = x509.KeyUsageDigitalSignature
	t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	der, err := x509.CreateCertificate(rand.Reader, t, a.cert, k.Public(), a.key)
	if err != nil {
		return nil, nil, fmt.Errorf("making the certificate of a %s: %w", role, err)
	}
	key, err = encodeKey(k)
	if err != nil {
		return nil, nil, fmt.Errorf("making the key of a %s: %w", role, err)
	}
	return encodeCert(der), key, nil
}

// RenewAt returns when two thirds of the life of a certificate are over.
func RenewAt(certPEM []byte) (time.Time, error) {
	cert, err := parseCert(certPEM)
	if err != nil {
		return time.Time{}, err
	}
	return renewAt(cert), nil
}

func renewAt(cert *x509.Certificate) time.Time {
	return cert.NotBefore.Add(cert.NotAfter.Sub(cert.NotBefore) / 3 * 2)
}

// check says what is wrong with a certificate and key of a role, by the authorities that may have issued it.
func check(role Role, cert *x509.Certificate, keyPEM []byte, now time.Time, by ...*x509.Certificate) error {
	if err := keyFits(cert, keyPEM); err != nil {
		return err
	}
	roots := x509.NewCertPool()
	for _, a := range by {
		roots.AddCert(a)
	}
	_, err := cert.Verify(x509.VerifyOptions{
		DNSName: role.ServerName(), Roots: roots, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	})
	if err != nil {
		return fmt.Errorf("verifying the certificate of a %s: %w", role, err)
	}
	return nil
}

// madeAt returns when a certificate was made.
func madeAt(cert *x509.Certificate) time.Time { return cert.NotBefore.Add(skew) }

// keyFits checks that a key is that of a certificate.
func keyFits(cert *x509.Certificate, keyPEM []byte) error {
	block, _ := pem.Decode(keyPEM)
	if block == nil || block.Type != keyBlock {
		return fmt.Errorf("reading a key: it is not a PEM block %q", keyBlock)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return fmt.Errorf("reading a key: %w", err)
	}
	signer, ok := parsed.(crypto.Signer)
	if !ok {
		return fmt.Errorf("reading a key: %T cannot sign", parsed)
	}
	public, err := x509.MarshalPKIXPublicKey(signer.Public())
	if err != nil || !bytes.Equal(public, cert.RawSubjectPublicKeyInfo) {
		return errors.New("reading a key: it is not that of the certificate")
	}
	return nil
}

// template is what all certificates have in common.
func template(name string, now time.Time, life time.Duration) *x509.Certificate {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		panic(err) // the reader of crypto/rand never fails
	}
	return &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    now.Add(-skew),
		NotAfter:     now.Add(life),
	}
}

func parseCert(certPEM []byte) (*x509.Certificate, error) {
	block, _ := pem.Decode(certPEM)
	if block == nil || block.Type != certBlock {
		return nil, fmt.Errorf("reading a certificate: it is not a PEM block %q", certBlock)
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("reading a certificate: %w", err)
	}
	return cert, nil
}

// parseCerts reads all certificates of a file, except what is none.
func parseCerts(text []byte) []*x509.Certificate {
	var out []*x509.Certificate
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if cert, err := x509.ParseCertificate(block.Bytes); err == nil && block.Type == certBlock {
			out = append(out, cert)
		}
	}
	return out
}

func encodeCerts(certs []*x509.Certificate) []byte {
	var out []byte
	for _, c := range certs {
		out = append(out, encodeCert(c.Raw)...)
	}
	return out
}

func encodeCert(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: certBlock, Bytes: der})
}

func encodeKey(key *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encoding a key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: keyBlock, Bytes: der}), nil
}
