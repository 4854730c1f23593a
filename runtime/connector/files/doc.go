// SPDX-License-Identifier: Apache-2.0

// Package files reads the lines of files and writes lines to files, on a file system or in S3-compatible storage.
//
// The source lists files, deals them to the subtasks by a hash of their names and remembers for each how far it was
// read. A goroutine of its own, started in Open, lists and reads ahead; Poll only cuts lines out of what is there. All
// that it learns travels to the task through one ordered channel, so that the state, which belongs to the task, always
// matches the rows handed out.
//
// The sink is transactional. Rows are encoded into a buffer; a buffer becomes a part when it is large or a snapshot is
// taken; a part is written as a hidden staged object before the snapshot is acknowledged, and moved to its final name,
// where readers see it, when the snapshot has completed. What the state holds of a part is its two names. A restore
// moves the parts of the restored snapshot, and deletes what else this job has staged.
package files
