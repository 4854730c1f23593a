// SPDX-License-Identifier: Apache-2.0

package s3store

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"syscall"
	"time"

	"github.com/minio/minio-go/v7"

	"github.com/weir-stream/weir/runtime/storage"
)

const (
	// maxAttempts is how often a request is made that may be repeated.
	maxAttempts = 4
	// firstDelay doubles with each repetition.
	firstDelay = 50 * time.Millisecond
	// bytesPerSecond is what a body is allowed to take beside the time limit.
	bytesPerSecond = 4 << 20
)

// deadline is a time limit that can grow while a call runs, when the size of what it reads becomes known.
type deadline struct {
	timer   *time.Timer
	timeout time.Duration
}

type deadlineKey struct{}

// limit gives a call its time limit.
func (s *Store) limit(ctx context.Context, size int64) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	d := &deadline{timeout: s.timeout}
	d.timer = time.AfterFunc(s.timeout+allowance(size), func() {
		cancel(fmt.Errorf("no answer within %v: %w", s.timeout+allowance(size), context.DeadlineExceeded))
	})
	return context.WithValue(ctx, deadlineKey{}, d), func() { d.timer.Stop(); cancel(nil) }
}

func allowance(size int64) time.Duration {
	return time.Duration(float64(max(size, 0)) / bytesPerSecond * float64(time.Second))
}

// extend restarts the time limit of the call for a body of this size.
func extend(ctx context.Context, size int64) {
	if d, ok := ctx.Value(deadlineKey{}).(*deadline); ok && d.timer.Stop() {
		d.timer.Reset(d.timeout + allowance(size))
	}
}

// repeat makes a call that may be repeated, within the time limit, and gives its error a type.
func (s *Store) repeat(ctx context.Context, op, key string, call func(context.Context) error) error {
	ctx, cancel := s.limit(ctx, 0)
	defer cancel()
	return s.fail(op, key, s.attempts(ctx, call))
}

// attempts repeats a call while it may help.
func (s *Store) attempts(ctx context.Context, call func(context.Context) error) error {
	delay := firstDelay
	for attempt := 1; ; attempt++ {
		err := call(ctx)
		if ctx.Err() != nil && err != nil {
			return errors.Join(context.Cause(ctx), lastWords(err))
		}
		if err == nil || attempt == maxAttempts || !mayPass(err) {
			return err
		}
		timer := time.NewTimer(delay)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return errors.Join(context.Cause(ctx), err)
		}
		delay *= 2
	}
}

// lastWords keeps of an error what a canceled context doesn't say already.
func lastWords(err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return nil
	}
	return err
}

// lostError is a write without an answer that must not be repeated.
type lostError struct{ error }

func (e lostError) Unwrap() error { return e.error }

// chanceError is a refusal that may be by chance: MinIO denies access to an object that is created while the deletion of another
// one is emptying their directory.
type chanceError struct{ error }

func (e chanceError) Unwrap() error { return e.error }

// mayPass says that the same request may succeed a little later.
func mayPass(err error) bool {
	if _, chance := errors.AsType[chanceError](err); chance {
		return true
	}
	if _, lost := errors.AsType[lostError](err); lost {
		return false
	}
	return transient(err)
}

func transient(err error) bool {
	if untrusted(err) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return false
	}
	if dns, ok := errors.AsType[*net.DNSError](err); ok && dns.IsNotFound {
		return false
	}
	if errors.Is(err, errAppeared) || errors.Is(err, errTorn) || errors.Is(err, errVanished) {
		return true
	}
	resp := response(err)
	switch resp.StatusCode {
	case 0:
		return isNetwork(err)
	case http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusConflict:
		return true
	case http.StatusInsufficientStorage, http.StatusNotImplemented:
		return false
	}
	return resp.StatusCode >= http.StatusInternalServerError && resp.Code != codeFull
}

// response returns what the server answered, or nothing.
func response(err error) minio.ErrorResponse {
	resp, _ := errors.AsType[minio.ErrorResponse](err)
	return resp
}

// maybeDone says that a write which ended in err may have happened all the same.
func maybeDone(err error) bool {
	if err == nil || notSent(err) {
		return false
	}
	resp := response(err)
	switch resp.StatusCode {
	case 0, http.StatusRequestTimeout, http.StatusConflict:
		return true
	case http.StatusInsufficientStorage, http.StatusNotImplemented:
		return false
	}
	return resp.StatusCode >= http.StatusInternalServerError && resp.Code != codeFull
}

// notSent says that no connection was made.
func notSent(err error) bool {
	if untrusted(err) {
		return true
	}
	op, ok := errors.AsType[*net.OpError](err)
	return ok && op.Op == "dial"
}

func untrusted(err error) bool {
	_, verify := errors.AsType[*tls.CertificateVerificationError](err)
	_, host := errors.AsType[x509.HostnameError](err)
	_, record := errors.AsType[tls.RecordHeaderError](err)
	return verify || host || record || isPlainHTTP(err)
}

func isNetwork(err error) bool {
	if _, ok := errors.AsType[net.Error](err); ok {
		return true
	}
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// fail gives an error its type, and a cause and a remedy that a person understands.
func (s *Store) fail(op, key string, cause error) error {
	if cause == nil {
		return nil
	}
	err := &storage.Error{Op: op, Key: key, Store: s.String(), Err: cause, Retriable: transient(cause)}
	for _, sentinel := range []error{storage.ErrExists, storage.ErrPrecondition, storage.ErrNotFound} {
		if errors.Is(cause, sentinel) {
			err.Retriable = false
			return err
		}
	}
	if unknown := errors.Is(cause, storage.ErrUnknownOutcome); unknown || errors.Is(cause, context.DeadlineExceeded) {
		err.Retriable = true
	}
	s.explain(err, cause)
	return err
}
