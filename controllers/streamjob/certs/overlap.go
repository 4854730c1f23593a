// SPDX-License-Identifier: Apache-2.0

package certs

import (
	"bytes"
	"crypto/x509"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// Spread is how long a change of a secret may take to reach all processes: kubelets write it into running pods within a minute or two.
const Spread = 10 * time.Minute

// leaf is the certificate of a role as its secret holds it.
type leaf struct {
	role Role
	cert *x509.Certificate
	key  []byte
	// trusted is what processes of the role trust.
	trusted []byte
}

// readLeaf returns the certificate of a role; an error if there is none.
func readLeaf(role Role, s *corev1.Secret) (leaf, error) {
	if s == nil {
		return leaf{}, fmt.Errorf("reading the certificate of a %s: there is none", role)
	}
	cert, err := parseCert(s.Data[CertKey(role)])
	return leaf{role: role, cert: cert, key: s.Data[KeyKey(role)], trusted: s.Data[AuthorityCertKey]}, err
}

// issuedBy says that the certificate is good, and that one of the authorities has issued it.
func (l leaf) issuedBy(now time.Time, by ...*x509.Certificate) bool {
	return len(by) > 0 && check(l.role, l.cert, l.key, now, by...) == nil
}

// leaves returns the certificates that there are.
func (i *issuer) leaves(have map[string]*corev1.Secret) []leaf {
	var out []leaf
	for _, role := range Roles() {
		if l, err := readLeaf(role, have[SecretName(i.job.Name, role)]); err == nil {
			out = append(out, l)
		}
	}
	return out
}

// lost returns the authorities, of which there is no key any more, that have issued what running pods have. They are found where these pods find what
// to trust, and count only if they have issued one of the certificates there.
func (i *issuer) lost(have map[string]*corev1.Secret) []*x509.Certificate {
	var out []*x509.Certificate
	there := i.leaves(have)
	for _, l := range there {
		for _, a := range parseCerts(l.trusted) {
			known := slices.ContainsFunc(out, a.Equal)
			if !known && a.IsCA && slices.ContainsFunc(there, func(l leaf) bool { return l.issuedBy(i.now, a) }) {
				out = append(out, a)
			}
		}
	}
	return out
}

// stillTrusted returns those of the lost authorities that are needed: until every process has a certificate of the one there is.
func (i *issuer) stillTrusted(a *Authority, stored []byte, have map[string]*corev1.Secret) []*x509.Certificate {
	previous := slices.DeleteFunc(parseCerts(stored), func(c *x509.Certificate) bool { return !c.IsCA || !i.now.Before(c.NotAfter) })
	if len(previous) == 0 {
		return nil
	}
	there := i.leaves(have)
	if len(there) < len(Roles()) {
		return previous
	}
	over := i.now
	for _, l := range there {
		if !l.issuedBy(i.now, a.cert) {
			return previous
		}
		if at := madeAt(l.cert).Add(Spread); at.After(over) {
			over = at
		}
	}
	if over.After(i.now) {
		i.lookAgain(over)
		return previous
	}
	return nil
}

// announced says that every process with a certificate of a lost authority has been told to trust the one there is. Since when is in that one's certificate,
// so a write that was interrupted has that made anew, for the same key.
func (i *issuer) announced(a *Authority, have map[string]*corev1.Secret) bool {
	return !slices.ContainsFunc(i.leaves(have), func(l leaf) bool {
		return l.issuedBy(i.now, i.previous...) && !l.issuedBy(i.now, a.cert) && !bytes.Equal(l.trusted, i.bundle(a))
	})
}

// bundle is what processes have to trust.
func (i *issuer) bundle(a *Authority) []byte {
	cert, _ := a.PEM()
	return append(cert, encodeCerts(i.previous)...)
}
