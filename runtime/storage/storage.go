// SPDX-License-Identifier: Apache-2.0

package storage

import (
	"context"
	"time"
)

// Store is an object store, or the part of one below a prefix. It is safe for use by several goroutines.
//
// Keys are relative, "/"-separated paths that pass CheckKey. All errors are *Error, but for the error of a canceled
// context, which is in the chain of an *Error. Every call ends: by its result, its context or the store's own time limit.
// Byte slices that are passed in are not kept or changed after the call; those that are returned belong to the caller.
type Store interface {
	Reader
	Writer
	Swapper
	Lister
	// String names the store for messages, as a URL without credentials.
	String() string
	// Close releases connections and handles. Calls that come later fail.
	Close() error
}

// Reader reads objects.
type Reader interface {
	// Get returns the whole object and its version. ErrNotFound when there is none.
	//
	// The version is opaque, never empty, and good for Swap alone. It changes with every Swap; a store may give the same
	// version again to the same content, so contents that are swapped in hold something that makes them differ.
	Get(ctx context.Context, key string) (data []byte, version string, err error)

	// GetRange reads length bytes from off, or fewer when the object ends before; length < 0 reads to the end.
	// An off at or behind the end gives no bytes and no error. ErrNotFound when there is no object.
	GetRange(ctx context.Context, key string, off, length int64) ([]byte, error)
}

// BufferReader is what a Store may be in addition, if it can read into memory that it is given.
type BufferReader interface {
	// GetRangeInto is GetRange for length >= 0. The bytes it returns are those of buf, if that has room for length bytes and as the store likes.
	GetRangeInto(ctx context.Context, key string, off, length int64, buf []byte) ([]byte, error)
}

// Writer creates, moves and deletes objects.
type Writer interface {
	// PutIfAbsent creates the object. When it returns nil the object is durable and visible as a whole to every reader.
	//
	// ErrExists says that an object is there already; whose it is, and whether it is the same, is for the caller to know,
	// who uses a new unique name for each write. A store that had lost the answer to its own write and finds the object
	// there with the very same bytes reports success. ErrUnknownOutcome says that the object may or may not be there, now
	// or later: the caller writes under another name, or reads back.
	// Of any number of racing calls for one key at most one returns nil, unless they write the same bytes.
	PutIfAbsent(ctx context.Context, key string, data []byte) error

	// Delete removes objects. Missing ones are no error. On an error some may be removed and some not; repeating is safe.
	Delete(ctx context.Context, keys ...string) error

	// Promote moves an immutable object from its staged key to its final one, where it appears as a whole.
	// It is idempotent: a missing src with a dst that is there is success, so it can be repeated after a crash or a lost
	// answer. A src and a dst that are both there are a repeated Promote when their bytes are the same (src is removed then);
	// when they differ, nothing is replaced and the error is ErrExists. ErrNotFound when neither is there.
	Promote(ctx context.Context, src, dst string) error
}

// Swapper replaces an object by compare-and-swap.
type Swapper interface {
	// Swap writes data if the version of the object still is expected, where "" means that there must be no object.
	// It returns the new version.
	//
	// ErrPrecondition says that the store refused since the version is another one. ErrUnknownOutcome says that the
	// result can't be known (timeout, lost connection, conflicting request): the write may have happened, or happen later.
	// In both cases the caller reads back and compares what it wrote with what is there before it concludes anything:
	// between this process and the store something may have repeated a write whose answer was lost.
	// Of any number of racing calls that expect the same version at most one returns nil.
	// Swap of an immutable object is refused, with ErrPrecondition or by another error, or replaces it.
	Swap(ctx context.Context, key string, data []byte, expected string) (version string, err error)
}

// Lister lists objects.
type Lister interface {
	// List calls fn for every object whose key starts with prefix ("" = all; a part of a name is a prefix too), through
	// all levels, in ascending order of the bytes of the key. An object that was there before the call, and still is, is
	// listed. An error of fn ends the listing and is returned as it is. fn may call the store.
	List(ctx context.Context, prefix string, fn func(Object) error) error
}

// Object is an entry of a listing.
type Object struct {
	// Key is relative to the store's prefix.
	Key string
	// Size in bytes.
	Size int64
	// ModTime is when the store took the object in, by the store's clock.
	ModTime time.Time
}
