// SPDX-License-Identifier: Apache-2.0

package certs

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
	"github.com/weir-stream/weir/controllers/streamjob/resources"
)

// Keys of the secrets. That of a role holds [AuthorityCertKey] and, named after the role, its certificate and key: the files
// that the engine reads from its directory --tls.
const (
	AuthorityCertKey = "ca.crt"
	AuthorityKeyKey  = "ca.key"
	// PreviousKey holds, in the secret of the authority, the certificates of lost authorities that are still trusted.
	PreviousKey = "previous.crt"
)

// CertKey returns the key of the certificate of a role in its secret.
func CertKey(role Role) string { return string(role) + ".crt" }

// KeyKey returns the key of the private key of a role in its secret.
func KeyKey(role Role) string { return string(role) + ".key" }

// AuthorityName returns the name of the secret with the certificate authority of a job. No pod mounts it.
func AuthorityName(job string) string { return job + "-ca" }

// SecretName returns the name of the secret with the certificate of a role.
func SecretName(job string, role Role) string { return resources.SecretName(job, string(role)) }

// Names returns the names of all secrets of a job, that of the authority first.
func Names(job string) []string {
	names := []string{AuthorityName(job)}
	for _, role := range Roles() {
		names = append(names, SecretName(job, role))
	}
	return names
}

// ErrForeign says that a secret of a name that is needed belongs to somebody else.
var ErrForeign = errors.New("it belongs to something else: rename it, or the StreamJob")

// Secrets returns the secrets that have to be applied so that a job has all its certificates and none is due for renewal, and
// when to look again. have holds the secrets that exist, by name. Nothing has to be applied when all is well.
//
// A certificate is issued anew when two thirds of its life are over, or when it is missing or does not fit. So is that of
// the authority, for the same key: pods that trust the old one trust what is issued from then on.
//
// A new authority is made only when there is none. What the lost one had issued is then kept until all processes trust the new one beside it, replaced
// after that, and the lost one is trusted until all processes have what is new. So no two processes refuse each other, and nothing restarts, as long as
// none gets its files later than [Spread]. Only an authority that has issued a certificate which is still there, and good, counts as lost; no other is
// trusted.
//
// The error is [ErrForeign] when a secret of one of the names belongs to somebody else.
func Secrets(job *streamv1.StreamJob, have map[string]*corev1.Secret, now time.Time) ([]*corev1ac.SecretApplyConfiguration, time.Time, error) {
	for _, name := range Names(job.Name) {
		if s := have[name]; s != nil && s.Labels[streamv1.LabelJob] != job.Name {
			return nil, time.Time{}, fmt.Errorf(
				"issuing the certificates of StreamJob %s: secret %s is needed for them, but %w", job.Name, name, ErrForeign)
		}
	}
	i := issuer{job: job, now: now}
	a, err := i.authority(have)
	if err != nil {
		return nil, time.Time{}, err
	}
	for _, role := range Roles() {
		if err := i.leaf(a, role, have[SecretName(job.Name, role)]); err != nil {
			return nil, time.Time{}, err
		}
	}
	return i.apply, i.next, nil
}

// issuer collects what has to be applied.
type issuer struct {
	job   *streamv1.StreamJob
	now   time.Time
	apply []*corev1ac.SecretApplyConfiguration
	next  time.Time
	// previous are the lost authorities that are trusted beside the one there is.
	previous []*x509.Certificate
}

// authority returns the authority of the job, renewed or made when needed.
func (i *issuer) authority(have map[string]*corev1.Secret) (*Authority, error) {
	s := have[AuthorityName(i.job.Name)]
	a, err := readAuthority(s)
	changed := err != nil || !i.now.Before(a.cert.NotAfter)
	if changed {
		if a, err = NewAuthority(i.now); err != nil {
			return nil, err
		}
		i.previous = i.lost(have)
	} else {
		i.previous = i.stillTrusted(a, s.Data[PreviousKey], have)
		changed = !bytes.Equal(s.Data[PreviousKey], encodeCerts(i.previous))
		if !i.now.Before(renewAt(a.cert)) || i.now.Before(a.cert.NotBefore) || !i.announced(a, have) { // a clock may have been set back
			changed = true
			if a, err = a.Renew(i.now); err != nil {
				return nil, err
			}
		}
	}
	i.lookAgain(renewAt(a.cert))
	if !changed && i.owned(s) {
		return a, nil
	}
	cert, key := a.PEM()
	data := map[string][]byte{AuthorityCertKey: cert, AuthorityKeyKey: key}
	if len(i.previous) > 0 {
		data[PreviousKey] = encodeCerts(i.previous)
	}
	i.add(AuthorityName(i.job.Name), data)
	return a, nil
}

// leaf issues the certificate of a role when needed.
func (i *issuer) leaf(a *Authority, role Role, s *corev1.Secret) error {
	l, err := readLeaf(role, s)
	keep := false
	switch {
	case err != nil:
	case l.issuedBy(i.now, a.cert):
		keep = i.now.Before(renewAt(l.cert))
		i.lookAgain(renewAt(l.cert))
	case l.issuedBy(i.now, i.previous...):
		keep = i.now.Before(madeAt(a.cert).Add(Spread))
		i.lookAgain(madeAt(a.cert).Add(Spread))
	}
	trusted := i.bundle(a)
	if keep && bytes.Equal(s.Data[AuthorityCertKey], trusted) && i.owned(s) {
		return nil
	}
	var cert, key []byte
	if keep {
		cert, key = s.Data[CertKey(role)], s.Data[KeyKey(role)]
	} else if cert, key, err = i.issue(a, role); err != nil {
		return err
	}
	i.add(SecretName(i.job.Name, role), map[string][]byte{AuthorityCertKey: trusted, CertKey(role): cert, KeyKey(role): key})
	return nil
}

// issue returns a new certificate of a role.
func (i *issuer) issue(a *Authority, role Role) (cert, key []byte, err error) {
	if cert, key, err = a.Issue(role, i.now); err != nil {
		return nil, nil, err
	}
	parsed, err := parseCert(cert)
	if err != nil {
		return nil, nil, err
	}
	i.lookAgain(renewAt(parsed))
	if len(i.previous) > 0 {
		i.lookAgain(madeAt(parsed).Add(Spread))
	}
	return cert, key, nil
}

// owned says whether Kubernetes deletes a secret after the StreamJob. One of an earlier StreamJob of the same name is not.
func (i *issuer) owned(s *corev1.Secret) bool {
	for _, o := range s.OwnerReferences {
		if o.UID == i.job.UID {
			return true
		}
	}
	return false
}

// lookAgain makes the next look no later than at. What is past was dealt with.
func (i *issuer) lookAgain(at time.Time) {
	if at.After(i.now) && (i.next.IsZero() || at.Before(i.next)) {
		i.next = at
	}
}

func (i *issuer) add(name string, data map[string][]byte) {
	i.apply = append(i.apply, corev1ac.Secret(name, i.job.Namespace).
		WithLabels(resources.Selector(i.job.Name)).
		WithOwnerReferences(resources.Owner(i.job)).
		WithType(corev1.SecretTypeOpaque).
		WithData(data))
}

func readAuthority(s *corev1.Secret) (*Authority, error) {
	if s == nil {
		return nil, errors.New("reading a certificate authority: there is none")
	}
	return ParseAuthority(s.Data[AuthorityCertKey], s.Data[AuthorityKeyKey])
}

// ClientTLS returns the configuration with which the operator calls the control API of a job, from its secret for clients.
func ClientTLS(secret *corev1.Secret) (*tls.Config, error) {
	pair, err := tls.X509KeyPair(secret.Data[CertKey(Client)], secret.Data[KeyKey(Client)])
	if err != nil {
		return nil, fmt.Errorf("reading certificate and key of secret %s: %w", secret.Name, err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(secret.Data[AuthorityCertKey]) {
		return nil, fmt.Errorf("reading the certificate authority of secret %s: key %s holds no certificate in PEM", secret.Name, AuthorityCertKey)
	}
	return &tls.Config{
		MinVersion:   tls.VersionTLS13,
		RootCAs:      roots,
		ServerName:   Coordinator.ServerName(),
		Certificates: []tls.Certificate{pair},
	}, nil
}
