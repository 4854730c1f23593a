// SPDX-License-Identifier: Apache-2.0

package s3store

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/minio/minio-go/v7"

	"github.com/weir-stream/weir/runtime/storage"
)

// codeFull is MinIO's word for a full disk.
const codeFull = "XMinioStorageFull"

// explanation of an error code of a server.
type explanation struct{ cause, remedy string }

const (
	credentialsRemedy = "check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or the secret that they come from"
	regionRemedy      = "set the region of the bucket"
	fullRemedy        = "free space on the server or raise the quota"
)

var explanations = map[string]explanation{
	minio.NoSuchBucket:               {"the bucket doesn't exist", "create it or correct its name"},
	"InvalidBucketName":              {"the name of the bucket is not allowed", "correct it"},
	"XAdminUserNotFound":             {"the server doesn't know the access key", credentialsRemedy},
	"InvalidAccessKeyId":             {"the server doesn't know the access key", credentialsRemedy},
	"SignatureDoesNotMatch":          {"the secret key is wrong", credentialsRemedy},
	"InvalidToken":                   {"the session token is not valid", credentialsRemedy + ", and AWS_SESSION_TOKEN"},
	"ExpiredToken":                   {"the session token has expired", "get new credentials"},
	minio.AccessDenied:               {"access is denied", "allow these credentials to list, read, write and delete below the prefix"},
	"AuthorizationHeaderMalformed":   {"the server expects another region", regionRemedy},
	"InvalidRegion":                  {"the server expects another region", regionRemedy},
	"PermanentRedirect":              {"the bucket is in another region", regionRemedy},
	"RequestTimeTooSkewed":           {"the clocks of this machine and of the server differ", "set the clock"},
	"NotImplemented":                 {"the server doesn't implement what was asked", "conditional writes are needed: use another server or a newer version"},
	"EntityTooLarge":                 {"the object is too large for the server", "raise the server's limit or the parallelism"},
	codeFull:                         {"the server's disk is full", fullRemedy},
	"InsufficientStorage":            {"the server's disk is full", fullRemedy},
	"QuotaExceeded":                  {"the quota is used up", fullRemedy},
	"XMinioAdminBucketQuotaExceeded": {"the quota of the bucket is used up", fullRemedy},
	"XMinioServerNotInitialized":     {"the server is still starting", ""},
	"SlowDown":                       {"the server asks to slow down", ""},
	"ConditionalRequestConflict":     {"another write of the object was under way", ""},
	"XAmzContentSHA256Mismatch":      {"the body was changed on its way", "look at proxies between here and the server"},
	"XMinioInvalidObjectName":        {"the server doesn't allow the key", "choose another prefix"},
	"KeyTooLongError":                {"the key is too long", "choose a shorter prefix"},
	"ObjectParentIsFile":             {"a part of the key is an object, and this server keeps keys as paths", "choose another prefix"},
	"XMinioParentIsObject":           {"a part of the key is an object, and this server keeps keys as paths", "choose another prefix"},
	"MethodNotAllowed":               {"the server doesn't allow the request", "check that the endpoint is the server's S3 API"},
	"RequestTimeout":                 {"the body came too slowly for the server", "look at the network"},
	"ServiceUnavailable":             {"the server is not available", ""},
	"InternalError":                  {"the server had an internal error", "look at its log and at its disks"},
	"XMinioInsufficientReadQuorum":   {"too few of the server's disks are available", "look at its log and at its disks"},
	"XMinioInsufficientWriteQuorum":  {"too few of the server's disks are available", "look at its log and at its disks"},
}

// reasons are what error codes of a server say of the whole store.
var reasons = map[string]storage.Reason{
	minio.NoSuchBucket:      storage.Missing,
	"InvalidBucketName":     storage.Missing,
	"XAdminUserNotFound":    storage.AccessDenied,
	"InvalidAccessKeyId":    storage.AccessDenied,
	"SignatureDoesNotMatch": storage.AccessDenied,
	"InvalidToken":          storage.AccessDenied,
	"ExpiredToken":          storage.AccessDenied,
	minio.AccessDenied:      storage.AccessDenied,
	"NotImplemented":        storage.Unsuitable,
	"MethodNotAllowed":      storage.Unsuitable,
}

// explain completes an error.
func (s *Store) explain(e *storage.Error, cause error) {
	if resp, ok := errors.AsType[minio.ErrorResponse](cause); ok {
		s.explainResponse(e, cause, resp)
		return
	}
	if request, ok := cause.(*url.Error); ok { //nolint:errorlint // the outermost only: its URL says nothing new
		cause = request.Err
	}
	server := s.endpoint.String()
	dns, noName := errors.AsType[*net.DNSError](cause)
	verify, distrust := errors.AsType[*tls.CertificateVerificationError](cause)
	switch {
	case distrust:
		e.Err = fmt.Errorf("the certificate of %s is not trusted: %w", server, verify.Err)
		e.Remedy = "give the certificate of its authority as CA bundle, or use the name that the certificate is for"
	case isPlainHTTP(cause):
		e.Err = fmt.Errorf("%s doesn't speak TLS", server)
		e.Remedy = "begin the endpoint with http:// if that is intended"
	case untrusted(cause):
		e.Err = fmt.Errorf("there is no TLS with %s: %w", server, cause)
		e.Remedy = "check the endpoint"
	case noName:
		e.Err = fmt.Errorf("the name %s can't be resolved: %w", dns.Name, cause)
		e.Remedy = "check the endpoint and the DNS"
	case notSent(cause):
		e.Err = fmt.Errorf("%s can't be reached: %w", server, cause)
		e.Remedy = "check the endpoint, that the server runs, and that the network lets this through"
	case errors.Is(cause, context.DeadlineExceeded):
		e.Err = fmt.Errorf("%s did not answer in time: %w", server, cause)
		e.Remedy = "check the server and the network"
	}
}

func (s *Store) explainResponse(e *storage.Error, cause error, resp minio.ErrorResponse) {
	if isMissing(cause) && !errors.Is(cause, storage.ErrUnknownOutcome) {
		e.Err = fmt.Errorf("%w (%s)", storage.ErrNotFound, resp.Code)
		return
	}
	known, ok := explanations[resp.Code]
	e.Reason = reasons[resp.Code]
	if e.Reason == storage.Unclassified && (resp.StatusCode == http.StatusForbidden || resp.StatusCode == http.StatusUnauthorized) {
		e.Reason = storage.AccessDenied
	}
	switch {
	case ok:
		e.Remedy = known.remedy
		e.Err = fmt.Errorf("%s (%s): %w", known.cause, resp.Code, trimmedError{cause})
	case resp.StatusCode == http.StatusForbidden, resp.StatusCode == http.StatusUnauthorized:
		e.Remedy = credentialsRemedy
	case resp.StatusCode == http.StatusInsufficientStorage:
		e.Remedy = fullRemedy
	case resp.StatusCode == http.StatusBadRequest && strings.Contains(resp.Message+resp.Code+cause.Error(), "HTTPS"):
		e.Remedy = "the server wants TLS: begin the endpoint with https://"
	case resp.StatusCode < http.StatusInternalServerError:
		e.Remedy = "check that the endpoint is an S3-compatible server"
	}
}

// trimmedError drops the full stop at the end of a server's sentence.
type trimmedError struct{ error }

func (t trimmedError) Error() string { return strings.TrimRight(t.error.Error(), ". ") }

func (t trimmedError) Unwrap() error { return t.error }

// isPlainHTTP recognizes a server without TLS, for which net/http has no type.
func isPlainHTTP(err error) bool {
	return strings.Contains(err.Error(), "server gave HTTP response to HTTPS client")
}
