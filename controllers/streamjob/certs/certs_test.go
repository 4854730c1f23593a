// SPDX-License-Identifier: Apache-2.0

package certs

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"maps"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
)

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func newJob(name string) *streamv1.StreamJob {
	return &streamv1.StreamJob{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "prod", UID: "uid-1"}}
}

// cluster keeps secrets as the API server would.
type cluster map[string]*corev1.Secret

func (c cluster) apply(t *testing.T, configurations []*corev1ac.SecretApplyConfiguration) {
	t.Helper()
	for _, configuration := range configurations {
		text, err := json.Marshal(configuration)
		if err != nil {
			t.Fatal(err)
		}
		var s corev1.Secret
		if err := json.Unmarshal(text, &s); err != nil {
			t.Fatal(err)
		}
		c[s.Name] = &s
	}
}

// settle applies what has to be applied at a time and returns the names of it.
func (c cluster) settle(t *testing.T, job *streamv1.StreamJob, now time.Time) []string {
	t.Helper()
	apply, next, err := Secrets(job, c, now)
	if err != nil {
		t.Fatal(err)
	}
	if !next.After(now) {
		t.Fatalf("at %s it wants to look again at %s", now, next)
	}
	c.apply(t, apply)
	names := []string{}
	for _, a := range apply {
		names = append(names, *a.Name)
	}
	slices.Sort(names)
	again, second, err := Secrets(job, c, now)
	if err != nil || len(again) > 0 || !second.Equal(next) {
		t.Fatalf("right after it was applied: %d secrets to apply, next %s (before: %s), %v", len(again), second, next, err)
	}
	return names
}

func (c cluster) clone() cluster {
	out := cluster{}
	for name, s := range c {
		out[name] = s.DeepCopy()
	}
	return out
}

func TestSecrets_IssuesFourAndThenRests(t *testing.T) {
	c, job := cluster{}, newJob("clicks")
	want := []string{"clicks-ca", "clicks-client-tls", "clicks-coordinator-tls", "clicks-worker-tls"}
	if diff := cmp.Diff(want, c.settle(t, job, start)); diff != "" {
		t.Fatalf("applied (-want +got):\n%s", diff)
	}
	for name, keys := range map[string][]string{
		"clicks-ca":              {"ca.crt", "ca.key"},
		"clicks-coordinator-tls": {"ca.crt", "coordinator.crt", "coordinator.key"},
		"clicks-worker-tls":      {"ca.crt", "worker.crt", "worker.key"},
		"clicks-client-tls":      {"ca.crt", "client.crt", "client.key"},
	} {
		s := c[name]
		if diff := cmp.Diff(keys, slices.Sorted(maps.Keys(s.Data))); diff != "" {
			t.Errorf("keys of %s (-want +got):\n%s", name, diff)
		}
		if o := s.OwnerReferences; len(o) != 1 || o[0].UID != job.UID || !*o[0].Controller {
			t.Errorf("owners of %s: %+v", name, o)
		}
		if s.Namespace != "prod" || s.Labels[streamv1.LabelJob] != "clicks" || s.Type != corev1.SecretTypeOpaque {
			t.Errorf("%s: %s, labels %v, type %s", name, s.Namespace, s.Labels, s.Type)
		}
	}
	if got := c.settle(t, job, start.Add(100*day)); len(got) > 0 {
		t.Errorf("applied %v though nothing is due", got)
	}
}

func TestSecrets_RenewsEachWhenItIsDue(t *testing.T) {
	leaves := []string{"clicks-client-tls", "clicks-coordinator-tls", "clicks-worker-tls"}
	all := append([]string{"clicks-ca"}, leaves...)
	tests := map[string]struct {
		after  time.Duration
		change func(cluster)
		want   []string
	}{
		"leaves before two thirds":      {after: 243 * day, want: []string{}},
		"leaves after two thirds":       {after: 244 * day, want: leaves},
		"leaves that ran out":           {after: 400 * day, want: leaves},
		"the authority":                 {after: 2434 * day, want: all},
		"an authority that ran out":     {after: 3651 * day, want: all},
		"the clock was set back":        {after: -2 * time.Hour, want: all},
		"a secret was deleted":          {change: func(c cluster) { delete(c, "clicks-worker-tls") }, want: []string{"clicks-worker-tls"}},
		"the authority was deleted":     {change: func(c cluster) { delete(c, "clicks-ca") }, want: all},
		"a key was lost":                {change: func(c cluster) { delete(c["clicks-client-tls"].Data, "client.key") }, want: []string{"clicks-client-tls"}},
		"a certificate was overwritten": {change: func(c cluster) { c["clicks-client-tls"].Data["client.crt"] = []byte("no") }, want: []string{"clicks-client-tls"}},
		"certificates were swapped": {change: func(c cluster) {
			w, k := c["clicks-worker-tls"].Data, c["clicks-client-tls"].Data
			w["worker.crt"], w["worker.key"] = k["client.crt"], k["client.key"]
		}, want: []string{"clicks-worker-tls"}},
		"a key of another certificate": {change: func(c cluster) {
			c["clicks-worker-tls"].Data["worker.key"] = c["clicks-client-tls"].Data["client.key"]
		}, want: []string{"clicks-worker-tls"}},
		"the certificate of the authority is missing beside one": {change: func(c cluster) { delete(c["clicks-client-tls"].Data, "ca.crt") }, want: []string{"clicks-client-tls"}},
		"the key of the authority was overwritten":               {change: func(c cluster) { c["clicks-ca"].Data["ca.key"] = []byte("no") }, want: all},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			c, job := cluster{}, newJob("clicks")
			c.settle(t, job, start)
			if tc.change != nil {
				tc.change(c)
			}
			if diff := cmp.Diff(tc.want, c.settle(t, job, start.Add(tc.after))); diff != "" {
				t.Errorf("applied (-want +got):\n%s", diff)
			}
			handshake(t, c, c, start.Add(tc.after))
		})
	}
}

// A pod reads the certificate of the authority when it starts, and its own at each handshake.
func TestSecrets_ARenewedAuthorityIsTrustedByPodsThatKnowTheOldOne(t *testing.T) {
	c, job := cluster{}, newJob("clicks")
	c.settle(t, job, start)
	old := c.clone()
	now := start.Add(2434 * day)
	c.settle(t, job, now)
	for role, s := range map[Role]string{Coordinator: "clicks-coordinator-tls", Worker: "clicks-worker-tls", Client: "clicks-client-tls"} {
		old[s].Data[CertKey(role)], old[s].Data[KeyKey(role)] = c[s].Data[CertKey(role)], c[s].Data[KeyKey(role)]
	}
	handshake(t, old, c, now)
	handshake(t, c, old, now)
}

func TestSecrets_OfAnEarlierStreamJobAreTakenOver(t *testing.T) {
	c, job := cluster{}, newJob("clicks")
	c.settle(t, job, start)
	before := c.clone()
	job.UID = "uid-2"
	if got := c.settle(t, job, start); len(got) != 4 {
		t.Errorf("applied %v, want all four", got)
	}
	for name, s := range c {
		if diff := cmp.Diff(before[name].Data, s.Data); diff != "" {
			t.Errorf("%s changed:\n%s", name, diff)
		}
	}
}

func TestSecrets_LeavesWhatBelongsToOthers(t *testing.T) {
	for _, name := range Names("clicks") {
		have := cluster{name: {ObjectMeta: metav1.ObjectMeta{Name: name}, Data: map[string][]byte{"password": []byte("x")}}}
		_, _, err := Secrets(newJob("clicks"), have, start)
		if err == nil || !strings.Contains(err.Error(), "secret "+name) || !strings.Contains(err.Error(), "rename") {
			t.Errorf("with a foreign %s: %v", name, err)
		}
	}
}

func TestClientTLS_NamesWhatIsWrong(t *testing.T) {
	c := cluster{}
	c.settle(t, newJob("clicks"), start)
	s := c["clicks-client-tls"]
	s.Data["ca.crt"] = []byte("no")
	if _, err := ClientTLS(s); err == nil || !strings.Contains(err.Error(), "ca.crt") {
		t.Errorf("without an authority: %v", err)
	}
	if _, err := ClientTLS(c["clicks-worker-tls"]); err == nil || !strings.Contains(err.Error(), "clicks-worker-tls") {
		t.Errorf("of a worker: %v", err)
	}
}

func TestParseAuthority_TakesWhatPEMReturns(t *testing.T) {
	a, err := NewAuthority(start)
	if err != nil {
		t.Fatal(err)
	}
	cert, key := a.PEM()
	b, err := ParseAuthority(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, leafKey, err := b.Issue(Worker, start)
	if err != nil {
		t.Fatal(err)
	}
	issued, err := parseCert(leaf)
	if err != nil {
		t.Fatal(err)
	}
	if err := check(Worker, issued, leafKey, start, a.cert); err != nil {
		t.Error(err)
	}
	if err := check(Client, issued, leafKey, start, a.cert); err == nil {
		t.Error("the certificate of a worker passes for that of a client")
	}
	if _, err := ParseAuthority(leaf, leafKey); err == nil {
		t.Error("a leaf passes for an authority")
	}
	other, err := NewAuthority(start)
	if err != nil {
		t.Fatal(err)
	}
	_, otherKey := other.PEM()
	if _, err := ParseAuthority(cert, otherKey); err == nil {
		t.Error("a foreign key passes")
	}
}

func TestIssue_DoesNotOutliveTheAuthority(t *testing.T) {
	a, err := NewAuthority(start)
	if err != nil {
		t.Fatal(err)
	}
	now := start.Add(authorityLife - 30*day)
	leaf, _, err := a.Issue(Client, now)
	if err != nil {
		t.Fatal(err)
	}
	at, err := RenewAt(leaf)
	if want := now.Add(-skew).Add((30*day + skew) / 3 * 2); err != nil || !at.Equal(want) {
		t.Errorf("renewed at %s, %v; want %s", at, err, want)
	}
}

func TestRenewAt_RefusesWhatIsNoCertificate(t *testing.T) {
	if _, err := RenewAt([]byte("no")); err == nil {
		t.Error("no error")
	}
}

// handshake has a coordinator with the secrets of one cluster meet the operator with those of another.
func handshake(t *testing.T, coordinator, operator cluster, now time.Time) {
	t.Helper()
	if err := tryHandshake(t, coordinator, operator, now); err != nil {
		t.Errorf("handshake at %s: %v", now, err)
	}
}

func tryHandshake(t *testing.T, coordinator, operator cluster, now time.Time) error {
	t.Helper()
	client, err := ClientTLS(operator["clicks-client-tls"])
	if err != nil {
		t.Fatal(err)
	}
	clock := func() time.Time { return now }
	client.Time = clock
	s := coordinator["clicks-coordinator-tls"].Data
	pair, err := tls.X509KeyPair(s["coordinator.crt"], s["coordinator.key"])
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(s["ca.crt"]) {
		t.Fatal("the coordinator has no authority")
	}
	server := &tls.Config{
		MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{pair},
		ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: roots, Time: clock,
	}
	a, b := net.Pipe()
	defer func() { _, _ = a.Close(), b.Close() }()
	late := time.Now().Add(10 * time.Second) // both sides may want to complain at once, and then neither reads
	_, _ = a.SetDeadline(late), b.SetDeadline(late)
	done := make(chan error, 1)
	go func() {
		err := tls.Server(a, server).HandshakeContext(t.Context())
		_ = a.SetDeadline(time.Unix(1, 0)) // the client learns of it
		done <- err
	}()
	clientErr := tls.Client(b, client).HandshakeContext(t.Context())
	_ = b.SetDeadline(time.Unix(1, 0))
	if err := <-done; err != nil {
		return err
	}
	return clientErr
}
