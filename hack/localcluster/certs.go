// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

const year = 365 * 24 * time.Hour

// identity is who a certificate is for.
type identity struct {
	file, name, group string
	// hosts are the names and addresses of a server.
	hosts []string
}

func identities() []identity {
	const masters = "system:masters"
	return []identity{
		{"apiserver", "kube-apiserver", "", []string{nodeIP, serviceIP, "127.0.0.1", "localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"}},
		{"apiserver-kubelet", "kube-apiserver-kubelet", masters, nil},
		{"admin", "admin", masters, nil},
		{"kube-controller-manager", "system:kube-controller-manager", "", nil},
		{"kube-scheduler", "system:kube-scheduler", "", nil},
		{"kube-proxy", "system:kube-proxy", "system:node-proxier", nil},
		{"coredns", "coredns", masters, nil},
		{"kubelet", "system:node:" + nodeName, "system:nodes", []string{nodeIP, nodeName}},
	}
}

// makeCerts makes a CA, the certificates of all components and the key that signs service account tokens; once.
func (c *cluster) makeCerts() error {
	dir := c.path("pki")
	if _, err := os.Stat(filepath.Join(dir, "complete")); err == nil {
		return nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	caKey, err := newKey(filepath.Join(dir, "ca.key"))
	if err != nil {
		return err
	}
	ca := certificate("weir-localcluster", "")
	ca.IsCA, ca.BasicConstraintsValid, ca.KeyUsage = true, true, x509.KeyUsageCertSign|x509.KeyUsageDigitalSignature
	if err := sign(filepath.Join(dir, "ca.crt"), ca, ca, caKey, caKey); err != nil {
		return err
	}
	for _, id := range identities() {
		key, err := newKey(filepath.Join(dir, id.file+".key"))
		if err != nil {
			return err
		}
		t := certificate(id.name, id.group)
		t.KeyUsage = x509.KeyUsageDigitalSignature
		t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}
		for _, h := range id.hosts {
			if ip := net.ParseIP(h); ip != nil {
				t.IPAddresses = append(t.IPAddresses, ip)
			} else {
				t.DNSNames = append(t.DNSNames, h)
			}
		}
		if err := sign(filepath.Join(dir, id.file+".crt"), t, ca, key, caKey); err != nil {
			return err
		}
	}
	saKey, err := newKey(filepath.Join(dir, "sa.key"))
	if err != nil {
		return err
	}
	public, err := x509.MarshalPKIXPublicKey(&saKey.PublicKey)
	if err != nil {
		return err
	}
	return errors.Join(writePEM(filepath.Join(dir, "sa.pub"), "PUBLIC KEY", public, 0o644), os.WriteFile(filepath.Join(dir, "complete"), nil, 0o600))
}

func newKey(file string) (*ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, err
	}
	return key, writePEM(file, "EC PRIVATE KEY", der, 0o600)
}

func certificate(name, group string) *x509.Certificate {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		panic(err) // the reader of crypto/rand doesn't fail
	}
	t := &x509.Certificate{SerialNumber: serial, Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(year)}
	if group != "" {
		t.Subject.Organization = []string{group}
	}
	return t
}

func sign(file string, t, ca *x509.Certificate, key, caKey *ecdsa.PrivateKey) error {
	der, err := x509.CreateCertificate(rand.Reader, t, ca, &key.PublicKey, caKey)
	if err != nil {
		return fmt.Errorf("signing %s: %w", file, err)
	}
	return writePEM(file, "CERTIFICATE", der, 0o644)
}

func writePEM(file, kind string, der []byte, mode os.FileMode) error {
	return os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), mode)
}
