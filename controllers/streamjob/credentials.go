// SPDX-License-Identifier: Apache-2.0

package streamjob

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
	"github.com/weir-stream/weir/controllers/streamjob/certs"
	"github.com/weir-stream/weir/controllers/streamjob/engine"
	"github.com/weir-stream/weir/controllers/streamjob/resources"
)

const (
	// checkSecretsEvery is how often the secrets of a job at rest are looked at, which nothing tells of when somebody deletes one.
	checkSecretsEvery = time.Hour
	// checkSecretsSoon is how often while a pod does not get on, and podPatience when that is.
	checkSecretsSoon = 15 * time.Second
	podPatience      = 10 * time.Second
)

// credentials are those with which the operator calls the coordinator of a job.
type credentials struct {
	tls *tls.Config
	// print identifies the certificate in it.
	print string
	// checkedAt is when the secrets were looked at last, renewAt when the first of them is due.
	checkedAt, renewAt time.Time
}

// watchEngine has the coordinator of the deployed version watched, if there is one. heard says that it is known whether it
// answers: right after the operator was started nothing is, and then nothing is to be decided. unissued says why certificates are
// missing or overdue, where that needs not keep anything else from being done.
func (s *scope) watchEngine(ctx context.Context) (heard bool, unissued, err error) {
	d := s.job.Status.Deployment
	if d == nil || d.Ended != "" {
		s.Engines.Forget(s.key)
		return true, nil, nil
	}
	ip := s.coordinatorIP(d.Grant)
	unissued = s.ensureCredentials(ctx, false)
	switch {
	case unissued == nil:
	case isDeleting(s.job):
		// Its secrets may be gone already: then the coordinator is called with what it was called with before, or counts as not answering.
		ctrl.LoggerFrom(ctx).Info("Issuing no certificates for a StreamJob that is being deleted", "reason", unissued.Error())
		unissued = nil
	case apierrors.IsConflict(unissued) || ctx.Err() != nil || ip != "" && s.mem.creds.tls == nil:
		return false, nil, unissued
	}
	target := engine.Target{Grant: d.Grant, TLS: s.mem.creds.tls}
	if ip != "" && target.TLS != nil {
		target.Addr = net.JoinHostPort(ip, strconv.Itoa(resources.APIPort))
	}
	s.Engines.Watch(s.key, target)
	s.watchCandidate(target.TLS)
	return s.Engines.Report(s.key) != nil, unissued, nil
}

// watchCandidate has the coordinator watched that stands by for an upgrade, if there is one.
func (s *scope) watchCandidate(secure *tls.Config) {
	grant := s.job.Status.Grant + 1
	ip := s.coordinatorIP(grant)
	if op := s.job.Status.Operation; op == nil || !op.Warm || ip == "" || secure == nil {
		s.Engines.WatchCandidate(s.key, nil)
		return
	}
	s.Engines.WatchCandidate(s.key, &engine.Target{Grant: grant, TLS: secure, Addr: net.JoinHostPort(ip, strconv.Itoa(resources.APIPort))})
}

// coordinatorIP is the address of the newest coordinator pod of a grant; empty when there is none that runs.
func (s *scope) coordinatorIP(grant int64) string {
	var newest *corev1.Pod
	label := strconv.FormatInt(grant, 10)
	for i := range s.objects.Pods {
		pod := &s.objects.Pods[i]
		if pod.Labels[streamv1.LabelGrant] != label || pod.Labels[streamv1.LabelComponent] != resources.CoordinatorComponent ||
			isDeleting(pod) || pod.Status.PodIP == "" || pod.Status.Phase != corev1.PodRunning {
			continue
		}
		if newest == nil || newest.CreationTimestamp.Before(&pod.CreationTimestamp) {
			newest = pod
		}
	}
	if newest == nil {
		return ""
	}
	return newest.Status.PodIP
}

// ensureCredentials issues what certificates are missing or due. The secrets are read only when there is a reason to, such as
// now.
func (s *scope) ensureCredentials(ctx context.Context, now bool) error {
	c := &s.mem.creds
	age := s.now.Sub(c.checkedAt)
	due := c.tls == nil || age >= checkSecretsEvery || !s.now.Before(c.renewAt) ||
		(now && age > 0) || (age >= checkSecretsSoon && s.podWaits())
	if due {
		if err := s.checkSecrets(ctx); err != nil {
			return err
		}
	}
	s.lookAgain(min(c.checkedAt.Add(checkSecretsEvery).Sub(s.now), c.renewAt.Sub(s.now)))
	return nil
}

// podWaits says that a pod has not started for a while: a secret may be missing.
func (s *scope) podWaits() bool {
	for i := range s.objects.Pods {
		pod := &s.objects.Pods[i]
		if pod.Status.Phase == corev1.PodPending && s.now.Sub(pod.CreationTimestamp.Time) > podPatience {
			return true
		}
	}
	return false
}

func (s *scope) checkSecrets(ctx context.Context) error {
	have := map[string]*corev1.Secret{}
	for _, name := range certs.Names(s.job.Name) {
		secret := &corev1.Secret{}
		err := s.APIReader.Get(ctx, client.ObjectKey{Namespace: s.key.Namespace, Name: name}, secret)
		switch {
		case apierrors.IsNotFound(err):
		case err != nil:
			return fmt.Errorf("reading secret %s: %w", name, err)
		default:
			have[name] = secret
		}
	}
	changed, renewAt, err := certs.Secrets(s.job, have, s.now)
	if err != nil {
		return err
	}
	for _, config := range changed {
		secret, err := s.writeSecret(ctx, config, have[*config.GetName()])
		if err != nil {
			return err
		}
		ctrl.LoggerFrom(ctx).Info("Issued a certificate", "secret", secret.Name)
		have[secret.Name] = secret
	}
	return s.mem.creds.take(have[certs.SecretName(s.job.Name, certs.Client)], s.now, renewAt)
}

// writeSecret writes a secret in the place of the one that was read, or where there was none. Certificates of two authorities don't trust each
// other, so two operators that issue at the same time must not each write a part: whoever comes second gets a conflict, and reads again.
func (s *scope) writeSecret(ctx context.Context, config *corev1ac.SecretApplyConfiguration, before *corev1.Secret) (*corev1.Secret, error) {
	name, secret := *config.GetName(), &corev1.Secret{}
	if before != nil {
		config.WithResourceVersion(before.ResourceVersion)
		if err := s.Client.Apply(ctx, config, client.FieldOwner(FieldOwner), client.ForceOwnership); err != nil {
			return nil, fmt.Errorf("applying secret %s: %w", name, err)
		}
		if err := convert(config, secret); err != nil {
			return nil, fmt.Errorf("reading secret %s: %w", name, err)
		}
		return secret, nil
	}
	if err := convert(config, secret); err != nil {
		return nil, fmt.Errorf("making secret %s: %w", name, err)
	}
	err := s.Client.Create(ctx, secret, client.FieldOwner(FieldOwner))
	if apierrors.IsAlreadyExists(err) {
		err = apierrors.NewConflict(corev1.Resource("secrets"), name, err)
	}
	if err != nil {
		return nil, fmt.Errorf("creating secret %s: %w", name, err)
	}
	return secret, nil
}

// take takes the certificate for clients up. The configuration stays the same one while its certificate does: another one
// would make new connections.
func (c *credentials) take(secret *corev1.Secret, now, renewAt time.Time) error {
	sum, err := digest(secret.Data)
	if err != nil {
		return err
	}
	if c.tls == nil || sum != c.print {
		config, err := certs.ClientTLS(secret)
		if err != nil {
			return err
		}
		c.tls, c.print = config, sum
	}
	c.checkedAt, c.renewAt = now, renewAt
	return nil
}
