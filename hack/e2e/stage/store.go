// SPDX-License-Identifier: Apache-2.0

package stage

import (
	"context"

	"github.com/weir-stream/weir/runtime/storage"
	"github.com/weir-stream/weir/runtime/storage/s3store"
)

// The S3 server of the stage.
const (
	// S3Addr is its address inside of the cluster, and S3Endpoint its URL.
	S3Addr     = "s3." + Namespace + ".svc:9000"
	S3Endpoint = "http://" + S3Addr
	// Bucket is there from the start.
	Bucket = "weir"
	// AccessKey and SecretKey are its credentials.
	AccessKey = "weir-demo"
	SecretKey = "weir-demo-secret"
)

// Store opens a part of the bucket of the S3 server, from this machine.
func (a *Access) Store(ctx context.Context, prefix string) (storage.Store, error) {
	addr, err := a.s3(ctx)
	if err != nil {
		return nil, err
	}
	return s3store.Open(ctx, storage.S3Config{
		Endpoint: "http://" + addr, Bucket: Bucket, Prefix: prefix, AccessKey: AccessKey, SecretKey: SecretKey,
	})
}

// s3 returns the address of this machine that leads to the S3 server.
func (a *Access) s3(ctx context.Context) (string, error) {
	const port = 9000
	f, err := a.forward(ctx, "app=s3", "", port)
	if err != nil {
		return "", err
	}
	return f.addr, nil
}
