// SPDX-License-Identifier: Apache-2.0

package storage

import (
	"context"
	"errors"
	"io/fs"
	"strings"
	"syscall"
)

// Outcomes that callers branch on.
var (
	// ErrNotFound says that there is no such object.
	ErrNotFound = errors.New("no such object")
	// ErrExists says that the object is there already.
	ErrExists = errors.New("the object exists already")
	// ErrPrecondition says that an object's version is not the expected one.
	ErrPrecondition = errors.New("the object's version is not the expected one")
	// ErrUnknownOutcome says that a write may or may not have happened.
	ErrUnknownOutcome = errors.New("the outcome of the write is not known")
)

// Reason says of an error what is wrong with the store as a whole.
type Reason uint8

// The reasons.
const (
	// Unclassified is every other error: of one object, or of a store that doesn't answer.
	Unclassified Reason = iota
	// Missing means that the bucket or the directory doesn't exist.
	Missing
	// AccessDenied means that there are no credentials or rights, or the wrong ones.
	AccessDenied
	// Unsuitable means that the store lacks something that is needed, such as conditional writes.
	Unsuitable
	// Misconfigured means that the configuration can't be right, whatever the store.
	Misconfigured
)

// ReasonOf returns the reason that an error of a store gives.
func ReasonOf(err error) Reason {
	e, ok := errors.AsType[*Error](err)
	if !ok {
		return Unclassified
	}
	return e.Reason
}

// Error is what stores return.
type Error struct {
	// Op is what was being done, as a gerund: "reading".
	Op string
	// Key is the object, or "" when the error is about the whole store.
	Key string
	// Store names the store, without credentials.
	Store string
	// Retriable says that the same call may succeed later without anybody changing anything.
	Retriable bool
	// Reason says what is wrong with the whole store, if that is it.
	Reason Reason
	// Remedy is what a person can do about it, or "".
	Remedy string
	// Err is the cause.
	Err error
}

// Error names what was done, the cause and the remedy.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Op)
	if e.Key != "" {
		b.WriteString(" " + e.Key)
	}
	if e.Store != "" {
		b.WriteString(" in " + e.Store)
	}
	if e.Err != nil {
		b.WriteString(": " + e.Err.Error())
	}
	if e.Remedy != "" {
		b.WriteString(": " + e.Remedy)
	}
	return b.String()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Retriable says whether err is of a store and may go away by itself.
func Retriable(err error) bool {
	e, ok := errors.AsType[*Error](err)
	return ok && e.Retriable
}

// Describe makes an *Error of a cause that any store can meet: a full disk, missing rights, a canceled call.
func Describe(op, key, store string, cause error) *Error {
	e := &Error{Op: op, Key: key, Store: store, Err: cause}
	switch {
	case errors.Is(cause, syscall.ENOSPC):
		e.Retriable, e.Remedy = true, "the disk is full: free space or give the volume more"
	case errors.Is(cause, syscall.EDQUOT):
		e.Retriable, e.Remedy = true, "the disk quota is used up: free space or raise the quota"
	case errors.Is(cause, syscall.EROFS):
		e.Reason, e.Remedy = AccessDenied, "the file system is read-only: mount it writable or choose another directory"
	case errors.Is(cause, fs.ErrPermission):
		e.Reason, e.Remedy = AccessDenied, "give this process's user the right to it"
	case errors.Is(cause, syscall.ENAMETOOLONG):
		e.Remedy = "choose a shorter name or prefix"
	case errors.Is(cause, syscall.EMFILE), errors.Is(cause, syscall.ENFILE):
		e.Retriable, e.Remedy = true, "too many files are open: raise the limit"
	case errors.Is(cause, context.DeadlineExceeded):
		e.Retriable = true
	}
	return e
}
