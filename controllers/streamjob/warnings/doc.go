// SPDX-License-Identifier: Apache-2.0

// Package warnings reads what Kubernetes says about pods that their nodes don't start, such as that a secret is missing that a volume names. It is told in
// events only. They are read when a pod waits, and then once for all jobs of a namespace: on a node that is busy, hundreds of pods wait at a time.
package warnings
