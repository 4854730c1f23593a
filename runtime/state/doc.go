// SPDX-License-Identifier: Apache-2.0

// Package state keeps the keyed state of one subtask.
//
// State belongs to a key, a key belongs to a key group, and a subtask owns a range of key
// groups. [Memory] holds the tables of a subtask, one [Table] for each named state. Under a
// table each key group is an open-addressing hash table of its own, cut into pages that
// hold no pointers, so that the garbage collector never looks inside. A directory finds the page
// by the upper bits of the hash; a full page is split in two, so growth is a matter of one page
// at a time and never of a whole table.
//
// Three layouts share that code. Integer keys with values of a fixed size live in the slots
// themselves. Byte keys live in an append-only log behind the table (very short ones in the slot),
// their fixed-size values in the slot. Values of variable size live in the log together with their key.
//
// Snapshots. [Memory.Seal] is the synchronous part: it raises the epoch and notes the pages there are.
// A page with an older epoch is sealed; the first write to it makes a copy when an open snapshot
// still needs the old content. [Snapshot.Write] encodes what was sealed, in another goroutine,
// and never disturbs the owner. The format is described in docs/formats/state-file.md.
//
// Incremental snapshots. [Memory.SealIncremental] seals a snapshot that refers to the shared files of an earlier one, its base, for all
// pages that have not been changed since. Which page lies where is remembered for a few snapshots; the base is named by who asks. The
// files are listed with an index of the sections that count. [Account] bounds the memory of several backends together.
//
// Goroutines. A Memory and its tables belong to one goroutine. Only [Snapshot.Write],
// [Snapshot.Release], [Memory.MemoryBytes], [Memory.Completed] and
// [Memory.Aborted] may be called from others.
package state
