// SPDX-License-Identifier: Apache-2.0

package s3store

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	"github.com/minio/minio-go/v7/pkg/s3utils"
	"golang.org/x/crypto/x509roots/fallback/bundle"

	"github.com/weir-stream/weir/runtime/storage"
)

const (
	amazonEndpoint = "https://s3.amazonaws.com"
	defaultRegion  = "us-east-1"
	dialTimeout    = 5 * time.Second
	idleTimeout    = 90 * time.Second
	maxIdle        = 64
)

var _ storage.Store = (*Store)(nil)

// Store is a part of a bucket.
type Store struct {
	core      minio.Core
	transport *http.Transport
	endpoint  *url.URL
	bucket    string
	prefix    string // "" or ends in "/"
	timeout   time.Duration
	// amazon says that the server is one of Amazon's.
	amazon bool
}

// Open connects to a server and checks that the bucket can be listed with the credentials.
func Open(ctx context.Context, cfg storage.S3Config) (*Store, error) {
	s, err := newStore(cfg)
	if err != nil {
		return nil, err
	}
	if err := s.check(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func newStore(cfg storage.S3Config) (*Store, error) {
	endpoint, err := parseEndpoint(cfg.Endpoint)
	if err != nil {
		return nil, err
	}
	if cfg.Bucket == "" {
		return nil, configError("no bucket is given", "name the bucket")
	}
	if err := s3utils.CheckValidBucketName(cfg.Bucket); err != nil {
		return nil, configError(fmt.Sprintf("%q can't be a bucket: %v", cfg.Bucket, err), "correct the name of the bucket")
	}
	prefix := strings.Trim(cfg.Prefix, "/")
	if prefix != "" {
		if err := storage.CheckKey(prefix); err != nil {
			return nil, err
		}
		prefix += "/"
	}
	creds, err := credentialsOf(cfg)
	if err != nil {
		return nil, err
	}
	transport, err := newTransport(cfg.CABundle)
	if err != nil {
		return nil, err
	}
	s := &Store{transport: transport, endpoint: endpoint, bucket: cfg.Bucket, prefix: prefix, timeout: cfg.Timeout}
	s.amazon = s3utils.IsAmazonEndpoint(*endpoint)
	if s.timeout <= 0 {
		s.timeout = storage.DefaultTimeout
	}
	region := cfg.Region
	if region == "" {
		region = defaultRegion
	}
	client, err := minio.New(endpoint.Host, &minio.Options{
		Creds: creds, Secure: endpoint.Scheme == "https", Transport: transport, Region: region, MaxRetries: 1,
	})
	if err != nil {
		return nil, &storage.Error{Op: "opening", Store: s.String(), Err: err, Remedy: "check the endpoint"}
	}
	s.core = minio.Core{Client: client}
	return s, nil
}

func configError(cause, remedy string) error {
	return &storage.Error{Op: "opening S3 storage", Err: errors.New(cause), Reason: storage.Misconfigured, Remedy: remedy}
}

func parseEndpoint(endpoint string) (*url.URL, error) {
	if endpoint == "" {
		endpoint = amazonEndpoint
	}
	u, err := url.Parse(endpoint)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https":
		return nil, configError(fmt.Sprintf("the endpoint %q is not a URL of a server", redact(endpoint)),
			"write it as https://host:port, or http://host:port for a server without TLS")
	case u.User != nil:
		return nil, configError("the endpoint holds credentials",
			"remove them from the URL and set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
	case u.Path != "" && u.Path != "/" || u.RawQuery != "":
		return nil, configError(fmt.Sprintf("the endpoint %q has more than a host and a port", redact(endpoint)),
			"give the bucket and the prefix in their own fields")
	}
	return &url.URL{Scheme: u.Scheme, Host: u.Host}, nil
}

// redact drops what stands before an "@", which may be a password.
func redact(endpoint string) string {
	if i := strings.LastIndexByte(endpoint, '@'); i >= 0 {
		return "..." + endpoint[i:]
	}
	return endpoint
}

func credentialsOf(cfg storage.S3Config) (*credentials.Credentials, error) {
	access, secret, token := cfg.AccessKey, cfg.SecretKey, ""
	if access == "" && secret == "" {
		access, secret = os.Getenv("AWS_ACCESS_KEY_ID"), os.Getenv("AWS_SECRET_ACCESS_KEY")
		token = os.Getenv("AWS_SESSION_TOKEN")
	}
	if access == "" || secret == "" {
		return nil, &storage.Error{
			Op: "opening S3 storage", Err: errors.New("there are no credentials"), Reason: storage.AccessDenied,
			Remedy: "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
		}
	}
	return credentials.NewStaticV4(access, secret, token), nil
}

// authorities returns those of the system, and where it has none, as in an image with nothing but a binary, those of the web.
func authorities() *x509.CertPool {
	pool, err := x509.SystemCertPool()
	if err == nil && !pool.Equal(x509.NewCertPool()) {
		return pool
	}
	pool = x509.NewCertPool()
	for root := range bundle.Roots() {
		cert, err := x509.ParseCertificate(root.Certificate)
		switch {
		case err != nil:
		case root.Constraint == nil:
			pool.AddCert(cert)
		default:
			pool.AddCertWithConstraint(cert, root.Constraint)
		}
	}
	return pool
}

func newTransport(caBundle string) (*http.Transport, error) {
	pool := authorities()
	config := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool}
	if caBundle != "" {
		if !pool.AppendCertsFromPEM([]byte(caBundle)) {
			return nil, configError("the CA bundle holds no certificate", "give certificates in PEM")
		}
	}
	dialer := &net.Dialer{Timeout: dialTimeout, KeepAlive: dialTimeout}
	return &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           dialer.DialContext,
		TLSClientConfig:       config,
		TLSHandshakeTimeout:   dialTimeout,
		MaxIdleConns:          maxIdle,
		MaxIdleConnsPerHost:   maxIdle,
		IdleConnTimeout:       idleTimeout,
		ExpectContinueTimeout: time.Second,
		DisableCompression:    true,
	}, nil
}

// check lists one object, which shows most mistakes of a configuration with the server's own words.
func (s *Store) check(ctx context.Context) error {
	return s.repeat(ctx, "opening", "", func(ctx context.Context) error {
		for object := range s.core.ListObjectsIter(ctx, s.bucket, minio.ListObjectsOptions{Prefix: s.prefix, Recursive: true, MaxKeys: 1}) {
			return object.Err
		}
		return ctx.Err()
	})
}

// String names the store as a URL that package open takes.
func (s *Store) String() string {
	name := "s3://" + s.bucket
	if s.prefix != "" {
		name += "/" + strings.TrimSuffix(s.prefix, "/")
	}
	if endpoint := s.endpoint.String(); endpoint != amazonEndpoint {
		name += "?endpoint=" + endpoint
	}
	return name
}

// Close drops idle connections.
func (s *Store) Close() error {
	s.transport.CloseIdleConnections()
	return nil
}

// full checks a key and puts the prefix before it.
func (s *Store) full(key string) (string, error) {
	if err := storage.CheckKey(key); err != nil {
		return "", err
	}
	if s.prefix == "" {
		return key, nil
	}
	return s.prefix + key, storage.CheckKey(s.prefix + key)
}
