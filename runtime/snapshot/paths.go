// SPDX-License-Identifier: Apache-2.0

package snapshot

import "path"

// SharedPrefix begins the path of a shared file in a manifest: the directory of a checkpoint lies two levels below that of the
// job, which holds the shared files beside the checkpoints.
const SharedPrefix = "../../shared/"

// FileKey returns the key in storage of a file that the manifest in directory dir lists with the given path. dir may end
// in "/" or not, and may be empty. The manifest has been validated, so the path leads nowhere but to dir and to the shared files.
func FileKey(dir, file string) string { return path.Join(dir, file) }
