// SPDX-License-Identifier: Apache-2.0

package certs

import (
	"errors"
	"time"
)

// Role is what a certificate says its holder is.
type Role string

// The roles.
const (
	Coordinator Role = "coordinator"
	Worker      Role = "worker"
	Client      Role = "client"
)

// ServerName returns the name that a certificate of the role carries: what a client verifies a server by.
func (r Role) ServerName() string { return string(r) + ".weir.internal" }

// Authority is the certificate authority of a job.
type Authority struct{}

// NewAuthority makes one with a new key.
func NewAuthority(now time.Time) (*Authority, error) { return nil, errors.ErrUnsupported }

// ParseAuthority reads one from its certificate and key in PEM.
func ParseAuthority(certPEM, keyPEM []byte) (*Authority, error) { return nil, errors.ErrUnsupported }

// PEM returns certificate and key in PEM.
func (a *Authority) PEM() (cert, key []byte) { return nil, nil }

// Issue returns a new certificate of a role and its key, in PEM.
func (a *Authority) Issue(role Role, now time.Time) (cert, key []byte, err error) {
	return nil, nil, errors.ErrUnsupported
}

// RenewAt returns when two thirds of the life of a certificate are over.
func RenewAt(certPEM []byte) (time.Time, error) { return time.Time{}, errors.ErrUnsupported }
