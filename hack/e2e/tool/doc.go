// SPDX-License-Identifier: Apache-2.0

// Command tool runs in the cluster on behalf of the end-to-end tests and the demonstration:
//
//	tool serve           connects them to any address of the cluster, and sends signals to processes of containers
//	tool relay FROM TO   passes connections on, so that a test can cut them by ending the relay
//
// serve listens on the loopback address of its pod only: it is reached by a port-forward, which needs rights in its namespace. For
// signals its pod must see the processes of the node.
package main
