// SPDX-License-Identifier: Apache-2.0

// Command tool runs in the cluster on behalf of the end-to-end tests and the demonstration:
//
//	tool serve           connects them to any address of the cluster, and sends signals to processes of containers
//	tool relay FROM TO   passes connections on, so that a test can cut them by ending the relay
//	tool s3fault FROM TO an object store in front of another, which fails as it is told: POST /_mode?set=denied|full|down|slow|ok; GET /_mode
//	                     says how many requests have met that; POST /_mode?set=hold&suffix=S keeps back a PUT until POST /_mode?deliver
//
// serve listens on the loopback address of its pod only: it is reached by a port-forward, which needs rights in its namespace. For
// signals its pod must see the processes of the node.
package main
