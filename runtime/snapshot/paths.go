// SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"path"
	"strconv"
	"strings"
)

// SharedPrefix begins the path of a shared file in a manifest: the directory of a checkpoint lies two levels below that of the
// job, which holds the shared files beside the checkpoints.
const SharedPrefix = "../../shared/"

// FileKey returns the key in storage of a file that the manifest in directory dir lists with the given path. dir may end
// in "/" or not, and may be empty. The manifest has been validated, so the path leads nowhere but to dir and to the shared files.
func FileKey(dir, file string) string { return path.Join(dir, file) }

// SavepointFilePrefix begins the names of all files of a savepoint but its manifest. Its directory is named by the operation of a user, and after a
// crash another coordinator may take a savepoint for the same operation there. Ids are never used twice, so the prefix tells what belongs to which.
func SavepointFilePrefix(checkpoint int64) string { return strconv.FormatInt(checkpoint, 10) + "-" }

// SavepointDirPrefix begins the names of the directories of all savepoints of a job; the operation that each was taken for follows.
func SavepointDirPrefix(jobID string) string {
	if len(jobID) > 6 {
		jobID = jobID[:6]
	}
	return "savepoint-" + strings.ReplaceAll(jobID, "/", "_") + "-"
}
