// SPDX-License-Identifier: Apache-2.0

// Package s3store keeps objects in a bucket of an S3-compatible server that honors If-None-Match and If-Match on writes.
//
// The client library never repeats a request by itself: a conditional write that is repeated after a lost answer meets
// its own result and looks refused. What may be repeated is repeated here, where the difference is known. Reads,
// deletes and listings are repeated a few times. PutIfAbsent repeats a write whose answer was lost, and when it is
// refused then, reads back and compares the bytes. Swap repeats nothing but connecting, and reports what it can't know.
//
// Every call has a time limit that includes its repetitions: the configured one and a second for each 4 MiB of body.
// Bodies are signed with their SHA-256, so that the server refuses one that was changed on the way.
package s3store
