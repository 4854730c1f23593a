// SPDX-License-Identifier: Apache-2.0

package storage

import (
	"time"
)

// DefaultTimeout limits one request to a store when its configuration doesn't.
const DefaultTimeout = 30 * time.Second

// Config says which store to open. Exactly one field is set.
type Config struct {
	S3     *S3Config     `json:"s3,omitempty"`
	File   *FileConfig   `json:"file,omitempty"`
	Memory *MemoryConfig `json:"memory,omitempty"`
}

// S3Config names a part of a bucket of an S3-compatible server.
type S3Config struct {
	// Endpoint is the server's URL, such as https://s3.example.org:9000. http:// means without TLS. Empty: Amazon S3.
	Endpoint string `json:"endpoint,omitempty"`
	// Bucket must exist.
	Bucket string `json:"bucket"`
	// Prefix goes before every key, with a "/" between. Empty: the whole bucket.
	Prefix string `json:"prefix,omitempty"`
	// Region that requests are signed for; default us-east-1.
	Region string `json:"region,omitempty"`
	// CABundle are certificates in PEM that are trusted beside the system's.
	CABundle string `json:"caBundle,omitempty"`
	// Timeout limits one request, in nanoseconds; default 30 s.
	Timeout time.Duration `json:"timeout,omitempty"`
	// AccessKey and SecretKey are the credentials. Empty: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and, if set,
	// AWS_SESSION_TOKEN of the environment. They are never marshaled.
	AccessKey string `json:"-"`
	SecretKey string `json:"-"`
}

// FileConfig names a directory.
type FileConfig struct {
	// Dir is made when it is missing, unless ReadOnly. Relative paths are relative to the working directory.
	Dir string `json:"dir"`
	// ReadOnly refuses every write, and a directory that doesn't exist.
	ReadOnly bool `json:"readOnly,omitempty"`
}

// MemoryConfig names a store in the memory of this process, which lives as long as the process does.
type MemoryConfig struct {
	// Name tells stores apart; opening the same name again gives the same content.
	Name string `json:"name"`
}
