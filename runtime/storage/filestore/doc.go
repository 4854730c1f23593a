// SPDX-License-Identifier: Apache-2.0

// Package filestore keeps objects as files below a directory, which may be shared by processes and, over a network file
// system that has hard links and exclusive creation, by machines.
//
// An immutable object is a plain file. It is written to a temporary file first, flushed, and then linked to its name,
// which the file system does only when the name is free; so an object appears as a whole or not at all, once. On file systems that
// only this machine changes (ext4, XFS, Btrfs) it is moved there in one step under the same condition.
//
// A swapped object is a directory of the object's name with one file for each version, "version-<number>". A swap
// creates the file of the next number in the same exclusive way and lists the directory afterwards. A writer that was
// asleep may create a number that others have used and cleaned up meanwhile: it then sees numbers far above its own and
// reports that it doesn't know the outcome. The last few versions stay, so that this can be told from having been
// overtaken; readers take the highest.
//
// Files and the directories that name them are flushed to disk before a call returns. Large objects are written past the page cache where memory
// and file system allow: they are rarely read, and soon deleted. All access goes through one open
// directory that can't be left, by ".." or by symbolic links.
package filestore
