// SPDX-License-Identifier: Apache-2.0

package certs

import (
	"crypto/tls"
	"errors"
	"time"

	corev1 "k8s.io/api/core/v1"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
)

// AuthorityName returns the name of the secret with the certificate authority of a job. No pod mounts it.
func AuthorityName(job string) string { return job + "-ca" }

// SecretName returns the name of the secret with the certificate of a role.
func SecretName(job string, role Role) string { return job + "-" + string(role) + "-tls" }

// Names returns the names of all secrets of a job.
func Names(job string) []string {
	return []string{AuthorityName(job), SecretName(job, Coordinator), SecretName(job, Worker), SecretName(job, Client)}
}

// Secrets returns the secrets that have to be applied so that a job has all its certificates and none is due for renewal, and
// when to look again. have holds the secrets that exist, by name. Nothing has to be applied when all is well.
func Secrets(job *streamv1.StreamJob, have map[string]*corev1.Secret, now time.Time) ([]*corev1ac.SecretApplyConfiguration, time.Time, error) {
	return nil, time.Time{}, errors.ErrUnsupported
}

// ClientTLS returns the configuration with which the operator calls the control API of a job, from its secret for clients.
func ClientTLS(secret *corev1.Secret) (*tls.Config, error) {
	return nil, errors.ErrUnsupported
}
