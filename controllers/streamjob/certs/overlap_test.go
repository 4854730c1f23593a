// SPDX-License-Identifier: Apache-2.0

package certs

import (
	"bytes"
	"crypto/x509"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
)

// look is how often these tests look: more often than anything is due.
const look = Spread / 5

// seen is what processes may have of the secrets, newest last.
type seen struct {
	at      []time.Time
	secrets []cluster
}

func (s *seen) note(at time.Time, c cluster) {
	if n := len(s.secrets); n > 0 && maps.EqualFunc(s.secrets[n-1], c, func(a, b *corev1.Secret) bool { return maps.EqualFunc(a.Data, b.Data, bytes.Equal) }) {
		return
	}
	s.at, s.secrets = append(s.at, at), append(s.secrets, c.clone())
}

// lagging are all states that a process may still have whose files are at most Spread old.
func (s *seen) lagging(now time.Time) []cluster {
	var out []cluster
	for n, c := range s.secrets {
		if n+1 == len(s.at) || s.at[n+1].After(now.Add(-Spread)) {
			out = append(out, c)
		}
	}
	return out
}

// meet has all processes meet each other, with whatever files each may have.
func (s *seen) meet(t *testing.T, now time.Time) {
	t.Helper()
	states := s.lagging(now)
	for n, coordinator := range states {
		for m, operator := range states {
			if err := tryHandshake(t, coordinator, operator, now); err != nil {
				t.Fatalf("at %v, files of state %d and %d of %d: %v", now.Sub(start), n, m, len(states), err)
			}
		}
	}
}

// trusted are the authorities that the files of a role name.
func (c cluster) trusted(role Role) []*x509.Certificate {
	return parseCerts(c[SecretName("clicks", role)].Data[AuthorityCertKey])
}

// issuedBy says whether one of some authorities has issued the certificate of a role.
func (c cluster) issuedBy(t *testing.T, role Role, now time.Time, some ...*x509.Certificate) bool {
	t.Helper()
	l, err := readLeaf(role, c[SecretName("clicks", role)])
	if err != nil {
		t.Fatal(err)
	}
	return l.issuedBy(now, some...)
}

func TestSecrets_ALostAuthorityIsReplacedWithoutAnInterruption(t *testing.T) {
	c, job := cluster{}, newJob("clicks")
	c.settle(t, job, start)
	old := c.trusted(Worker)[0]
	var s seen
	s.note(start, c)
	now := start.Add(day)
	delete(c, "clicks-ca")
	s.note(now, c)
	for range 15 {
		c.settle(t, job, now)
		s.note(now, c)
		s.meet(t, now)
		now = now.Add(look)
	}
	for _, role := range Roles() {
		trusted := c.trusted(role)
		if len(trusted) != 1 || trusted[0].Equal(old) || !c.issuedBy(t, role, now, trusted[0]) {
			t.Errorf("in the end a %s trusts %d authorities, or the lost one, or has a certificate of it", role, len(trusted))
		}
	}
	if len(c["clicks-ca"].Data[PreviousKey]) > 0 {
		t.Error("the lost authority is still remembered")
	}
	if err := tryHandshake(t, c, s.secrets[0], now); err == nil {
		t.Error("a certificate of the lost authority is accepted when all processes have been given new ones")
	}
	if got := c.settle(t, job, now.Add(100*day)); len(got) > 0 {
		t.Errorf("long after it applies %v", got)
	}
}

// The operator is interrupted after each write, and comes back only much later.
func TestSecrets_AnInterruptedReplacementOfALostAuthorityLocksNobodyOut(t *testing.T) {
	for writes := range 4 {
		t.Run(fmt.Sprint(writes), func(t *testing.T) {
			c, job := cluster{}, newJob("clicks")
			c.settle(t, job, start)
			var s seen
			s.note(start, c)
			now := start.Add(day)
			delete(c, "clicks-ca")
			for n := range 20 {
				apply, next, err := Secrets(job, c, now)
				if err != nil {
					t.Fatal(err)
				}
				interrupted := len(apply) > writes && n < 4
				if interrupted {
					apply = apply[:writes]
				}
				for _, one := range apply {
					c.apply(t, []*corev1ac.SecretApplyConfiguration{one})
					s.note(now, c)
				}
				s.meet(t, now)
				if interrupted {
					now = now.Add(3 * Spread)
					continue
				}
				if !next.After(now) {
					t.Fatalf("at %v it wants to look again at %v", now, next)
				}
				now = now.Add(look)
			}
			for _, role := range Roles() {
				if n := len(c.trusted(role)); n != 1 {
					t.Errorf("in the end a %s trusts %d authorities", role, n)
				}
			}
		})
	}
}

// The authority is lost again while the one before it is still trusted.
func TestSecrets_AuthoritiesLostOneAfterTheOtherAreAllOverlapped(t *testing.T) {
	c, job := cluster{}, newJob("clicks")
	c.settle(t, job, start)
	var s seen
	s.note(start, c)
	now := start.Add(day)
	most := 0
	for n := range 40 {
		if n == 0 || n == 3 || n == 7 {
			delete(c, "clicks-ca")
		}
		c.settle(t, job, now)
		s.note(now, c)
		s.meet(t, now)
		most = max(most, len(c.trusted(Client)))
		now = now.Add(look)
	}
	if most > 1+len(Roles()) {
		t.Errorf("%d authorities were trusted at once", most)
	}
	if n := len(c.trusted(Client)); n != 1 {
		t.Errorf("in the end %d authorities are trusted", n)
	}
}

func TestSecrets_AnUnknownAuthorityIsNeverTrusted(t *testing.T) {
	stranger, err := NewAuthority(start)
	if err != nil {
		t.Fatal(err)
	}
	theirs, _ := stranger.PEM()
	appended := func(c cluster, secret string) {
		c[secret].Data[AuthorityCertKey] = slices.Concat(c[secret].Data[AuthorityCertKey], theirs)
	}
	tests := map[string]struct {
		change func(t *testing.T, c cluster)
		after  time.Duration
	}{
		"beside what is there":                    {change: func(_ *testing.T, c cluster) { appended(c, "clicks-worker-tls") }},
		"beside what is there, when that is lost": {change: func(_ *testing.T, c cluster) { appended(c, "clicks-worker-tls"); delete(c, "clicks-ca") }},
		"in place of what is there, when that is lost": {change: func(_ *testing.T, c cluster) {
			for _, role := range Roles() {
				c[SecretName("clicks", role)].Data[AuthorityCertKey] = theirs
			}
			delete(c, "clicks-ca")
		}},
		"with a certificate for another role": {change: func(t *testing.T, c cluster) {
			cert, key, err := stranger.Issue(Worker, start)
			if err != nil {
				t.Fatal(err)
			}
			c["clicks-client-tls"].Data["client.crt"], c["clicks-client-tls"].Data["client.key"] = cert, key
			appended(c, "clicks-client-tls")
			delete(c, "clicks-ca")
		}},
		"with a certificate whose key is missing": {change: func(t *testing.T, c cluster) {
			cert, _, err := stranger.Issue(Client, start)
			if err != nil {
				t.Fatal(err)
			}
			c["clicks-client-tls"].Data["client.crt"] = cert
			appended(c, "clicks-client-tls")
			delete(c, "clicks-ca")
		}},
		"with a certificate that ran out": {after: 400 * day, change: func(t *testing.T, c cluster) {
			cert, key, err := stranger.Issue(Client, start)
			if err != nil {
				t.Fatal(err)
			}
			c["clicks-client-tls"].Data["client.crt"], c["clicks-client-tls"].Data["client.key"] = cert, key
			appended(c, "clicks-client-tls")
			delete(c, "clicks-ca")
		}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			c, job := cluster{}, newJob("clicks")
			c.settle(t, job, start)
			tc.change(t, c)
			now := start.Add(tc.after)
			for range 12 {
				c.settle(t, job, now)
				for _, secret := range Names("clicks") {
					for key, value := range c[secret].Data {
						if strings.HasSuffix(key, ".crt") && bytes.Contains(value, theirs) {
							t.Fatalf("%v after the start %s of %s holds the stranger", now.Sub(start), key, secret)
						}
					}
				}
				now = now.Add(look)
			}
			handshake(t, c, c, now)
		})
	}
}

func TestSecrets_WithEverythingLostNothingOfItIsTrusted(t *testing.T) {
	c, job := cluster{}, newJob("clicks")
	c.settle(t, job, start)
	old := c.clone()
	clear(c)
	c.settle(t, job, start)
	if n := len(c.trusted(Worker)); n != 1 {
		t.Errorf("%d authorities are trusted", n)
	}
	if err := tryHandshake(t, c, old, start); err == nil {
		t.Error("a certificate of the lost authority is accepted")
	}
}
