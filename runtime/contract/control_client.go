// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	defaultRequestTimeout = 10 * time.Second
	maxAnswerBytes        = 16 << 20
)

// ClientOptions configure a [Client]; the zero value is usable.
type ClientOptions struct {
	// TLS makes the client speak HTTPS.
	TLS *tls.Config
	// Timeout bounds one request besides its context. Default 10 s.
	Timeout time.Duration
}

// Client calls the control API of a coordinator. Safe for concurrent use.
type Client struct {
	base    string
	timeout time.Duration
	http    *http.Client
}

// NewClient returns a client of the control API at addr: "host:port", or a URL.
func NewClient(addr string, o ClientOptions) (*Client, error) {
	base, err := baseURL(addr, o.TLS != nil)
	if err != nil {
		return nil, err
	}
	if o.Timeout <= 0 {
		o.Timeout = defaultRequestTimeout
	}
	return &Client{
		base:    base,
		timeout: o.Timeout,
		http: &http.Client{Transport: &http.Transport{
			TLSClientConfig:     o.TLS,
			DialContext:         (&net.Dialer{Timeout: o.Timeout}).DialContext,
			TLSHandshakeTimeout: o.Timeout,
			MaxIdleConns:        2,
			IdleConnTimeout:     30 * time.Second,
		}},
	}, nil
}

func baseURL(addr string, secure bool) (string, error) {
	if addr == "" {
		return "", errors.New("reading the address of the control API: it is empty: give host:port")
	}
	if !strings.Contains(addr, "://") {
		scheme := "http://"
		if secure {
			scheme = "https://"
		}
		addr = scheme + addr
	}
	u, err := url.Parse(addr)
	if err != nil {
		return "", fmt.Errorf("reading the address of the control API: %w", err)
	}
	if (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return "", fmt.Errorf("reading the address of the control API: %q is neither host:port nor an http URL", addr)
	}
	return strings.TrimSuffix(addr, "/"), nil
}

// Close releases idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Job returns the status of the job.
func (c *Client) Job(ctx context.Context) (*JobStatus, error) {
	return call[JobStatus](ctx, c, http.MethodGet, PathJob, nil, c.timeout)
}

// Checkpoints returns history and statistics of snapshots.
func (c *Client) Checkpoints(ctx context.Context) (*CheckpointsReport, error) {
	return call[CheckpointsReport](ctx, c, http.MethodGet, PathCheckpoints, nil, c.timeout)
}

// CheckpointDetail returns what one snapshot cost, by operator and subtask.
func (c *Client) CheckpointDetail(ctx context.Context, id int64) (*CheckpointDetail, error) {
	return call[CheckpointDetail](ctx, c, http.MethodGet, PathCheckpoints+"/"+strconv.FormatInt(id, 10), nil, c.timeout)
}

// Checkpoint asks for a checkpoint now.
func (c *Client) Checkpoint(ctx context.Context, r CheckpointRequest) (*Operation, error) {
	return call[Operation](ctx, c, http.MethodPost, PathCheckpoints, r, c.timeout)
}

// Savepoint asks for a savepoint.
func (c *Client) Savepoint(ctx context.Context, r SavepointRequest) (*Operation, error) {
	return call[Operation](ctx, c, http.MethodPost, PathSavepoints, r, c.timeout)
}

// Stop asks to stop the job with a savepoint.
func (c *Client) Stop(ctx context.Context, r StopRequest) (*Operation, error) {
	return call[Operation](ctx, c, http.MethodPost, PathStop, r, c.timeout)
}

// Cancel asks to cancel the job.
func (c *Client) Cancel(ctx context.Context, r CancelRequest) (*Operation, error) {
	return call[Operation](ctx, c, http.MethodPost, PathCancel, r, c.timeout)
}

// Activate tells a coordinator in standby to claim the job and run it.
func (c *Client) Activate(ctx context.Context, r ActivateRequest) (*Activation, error) {
	return call[Activation](ctx, c, http.MethodPost, PathActivate, r, c.timeout)
}

// SetPolicy changes what can change without a restart and returns the policy in force.
func (c *Client) SetPolicy(ctx context.Context, p Policy) (*Policy, error) {
	return call[Policy](ctx, c, http.MethodPut, PathPolicy, p, c.timeout)
}

// Operation returns an operation by its id, waiting up to wait for its end.
func (c *Client) Operation(ctx context.Context, id string, wait time.Duration) (*Operation, error) {
	wait = min(max(wait, 0), MaxWait)
	path := PathOperations + "/" + url.PathEscape(id)
	if wait > 0 {
		path += "?wait=" + wait.String()
	}
	return call[Operation](ctx, c, http.MethodGet, path, nil, c.timeout+wait)
}

// WaitOperation waits until the operation ended or ctx ends.
func (c *Client) WaitOperation(ctx context.Context, id string) (*Operation, error) {
	for {
		op, err := c.Operation(ctx, id, MaxWait/2)
		if err != nil {
			return nil, err
		}
		if op.Phase.Ended() {
			return op, nil
		}
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("waiting for operation %s: %w", id, err)
		}
	}
}

func call[T any](ctx context.Context, c *Client, method, path string, body any, timeout time.Duration) (*T, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	var r io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return nil, fmt.Errorf("encoding a request to the control API: %w", err)
		}
		r = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, r)
	if err != nil {
		return nil, fmt.Errorf("making a request to the control API: %w", err)
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := c.http.Do(req)
	if err != nil {
		if errors.Is(err, syscall.ECONNREFUSED) {
			return nil, fmt.Errorf("calling the control API at %s: nobody listens there: the job has ended, or the address is another (a run prints it): %w", c.base, err)
		}
		return nil, fmt.Errorf("calling the control API at %s: %w", c.base, err)
	}
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(io.LimitReader(res.Body, maxAnswerBytes+1))
	if err != nil {
		return nil, fmt.Errorf("reading the answer of the control API: %w", err)
	}
	if len(b) > maxAnswerBytes {
		return nil, fmt.Errorf("reading the answer of the control API: it is larger than %d bytes", maxAnswerBytes)
	}
	if res.StatusCode >= http.StatusMultipleChoices {
		return nil, apiError(res, b)
	}
	var out T
	if err := json.Unmarshal(b, &out); err != nil {
		return nil, fmt.Errorf("reading the answer of the control API at %s: %w", c.base, err)
	}
	return &out, nil
}

func apiError(res *http.Response, body []byte) error {
	e := &APIError{}
	if err := json.Unmarshal(body, e); err != nil || e.Message == "" {
		e = &APIError{
			Message: fmt.Sprintf("the control API answered %s", res.Status),
			Remedy:  "check that the address is that of a coordinator's control API",
		}
		if bytes.Contains(body, []byte("HTTP request to an HTTPS server")) {
			e = &APIError{Message: "the control API speaks HTTPS", Remedy: "give the certificate of a client, with weir --tls DIR"}
		}
	}
	e.Status = res.StatusCode
	return e
}
