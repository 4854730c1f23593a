// SPDX-License-Identifier: Apache-2.0

// Package stage sets a cluster up for the demonstration and the end-to-end tests: it builds the images and brings them to the
// nodes, installs the operator, an S3 server and a helper pod, and opens ways from this machine to addresses inside of the cluster.
// It works on the cluster of hack/localcluster, on one of kind, and on that of the current context.
package stage
