// SPDX-License-Identifier: Apache-2.0

// Package reclaim looks at one snapshot in storage, pins it, and deletes it, without the job that it was taken of: by its path alone. It never deletes
// what a job or a pin still needs, nor anything that the manifest of the snapshot, or the name of its directory, doesn't show to be a part
// of it.
package reclaim
