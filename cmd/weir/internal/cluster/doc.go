// SPDX-License-Identifier: Apache-2.0

// Package cluster is what the weir program does in a Kubernetes cluster: it reads, patches and deletes StreamJobs, follows
// one until it is as wanted, and reaches the control API of its coordinator through a port-forward. It needs what the
// user may do, nothing of the operator's; its errors name what is missing and the remedy.
package cluster
