// SPDX-License-Identifier: Apache-2.0

// Package storage is the engine's seam to object stores: what snapshots, heads and transactional files are written
// to and read from.
//
// A store holds objects under keys. There are two kinds of object, and a key is of one kind for its whole life:
//
//   - immutable objects, created once by PutIfAbsent or Promote and never changed;
//   - swapped objects (the head of a job is the one that matters), created and replaced by Swap, which compares versions.
//
// Implementations are in s3store (S3-compatible servers), filestore (a directory) and memstore (memory, with faults,
// for tests and the simulator). Package open builds one from a Config or from a URL. All of them pass the suite in
// storagetest. Probe finds out at start whether a store keeps the promises that the commit point rests on.
package storage
