// SPDX-License-Identifier: Apache-2.0

package remotestore

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"

	"google.golang.org/grpc"

	"github.com/weir-stream/weir/runtime/storage"
	"github.com/weir-stream/weir/runtime/transport/control"
)

// maxObject is what fits into one message, which carries it as text.
const maxObject = control.MaxMessage/4*3 - 64<<10

// Client is a store in the memory of a coordinator. Safe for concurrent use.
type Client struct {
	conn *grpc.ClientConn
	name string
}

// Dial returns the store of the coordinator at addr, which is connected to with the first call; secure nil means no TLS.
func Dial(addr string, secure *tls.Config) (*Client, error) {
	conn, err := control.NewConn(addr, secure)
	if err != nil {
		return nil, err
	}
	return &Client{conn: conn, name: "the memory of the coordinator at " + addr}, nil
}

// String implements storage.Store.
func (c *Client) String() string { return c.name }

// Close implements storage.Store.
func (c *Client) Close() error { return c.conn.Close() }

// Get implements storage.Reader.
func (c *Client) Get(ctx context.Context, key string) (data []byte, version string, err error) {
	r, err := c.call(ctx, "reading", &request{Op: opGet, Key: key})
	if err != nil {
		return nil, "", err
	}
	return r.Data, r.Version, nil
}

// GetRange implements storage.Reader.
func (c *Client) GetRange(ctx context.Context, key string, off, length int64) ([]byte, error) {
	r, err := c.call(ctx, "reading", &request{Op: opRange, Key: key, Off: off, Length: length})
	if err != nil {
		return nil, err
	}
	return r.Data, nil
}

// PutIfAbsent implements storage.Writer.
func (c *Client) PutIfAbsent(ctx context.Context, key string, data []byte) error {
	_, err := c.call(ctx, "writing", &request{Op: opPut, Key: key, Data: data})
	return err
}

// Delete implements storage.Writer.
func (c *Client) Delete(ctx context.Context, keys ...string) error {
	if len(keys) == 0 {
		return nil
	}
	_, err := c.call(ctx, "deleting", &request{Op: opDelete, Key: keys[0], Keys: keys})
	return err
}

// Promote implements storage.Writer.
func (c *Client) Promote(ctx context.Context, src, dst string) error {
	_, err := c.call(ctx, "moving", &request{Op: opPromote, Key: src, To: dst})
	return err
}

// Swap implements storage.Swapper.
func (c *Client) Swap(ctx context.Context, key string, data []byte, expected string) (string, error) {
	r, err := c.call(ctx, "swapping", &request{Op: opSwap, Key: key, Data: data, Expected: expected})
	if err != nil {
		return "", err
	}
	return r.Version, nil
}

// List implements storage.Lister.
func (c *Client) List(ctx context.Context, prefix string, fn func(storage.Object) error) error {
	r, err := c.call(ctx, "listing", &request{Op: opList, Key: prefix})
	if err != nil {
		return err
	}
	for _, o := range r.Objects {
		if err := fn(storage.Object(o)); err != nil {
			return err
		}
	}
	return nil
}

// call makes one call. Whether a write whose answer is lost has happened isn't known.
func (c *Client) call(ctx context.Context, op string, r *request) (*response, error) {
	if r.Op != opList {
		for _, key := range append([]string{r.Key}, r.Keys...) {
			if err := storage.CheckKey(key); err != nil {
				return nil, err // what travels is text
			}
		}
	}
	if r.Op == opPromote {
		if err := storage.CheckKey(r.To); err != nil {
			return nil, err
		}
	}
	e := &storage.Error{Op: op, Key: r.Key, Store: c.name}
	if err := ctx.Err(); err != nil {
		e.Err = err
		return nil, e
	}
	if n := len(r.Data); n > maxObject {
		e.Err, e.Remedy = fmt.Errorf("its %d bytes exceed the limit of %d for one object", n, maxObject), limitRemedy
		return nil, e
	}
	var out response
	if err := c.conn.Invoke(ctx, "/"+serviceName+"/"+methodName, r, &out); err != nil {
		e.Err, e.Retriable = err, true
		if cause := ctx.Err(); cause != nil {
			e.Err = errors.Join(cause, err)
		}
		if r.Op != opGet && r.Op != opRange && r.Op != opList {
			e.Err = fmt.Errorf("%w: %w", storage.ErrUnknownOutcome, e.Err)
		}
		return nil, e
	}
	if out.Code == "" {
		return &out, nil
	}
	e.Remedy = out.Remedy
	if e.Err = sentinels()[out.Code]; e.Err == nil {
		e.Err = errors.New(out.Error)
	}
	return nil, e
}
