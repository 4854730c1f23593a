// SPDX-License-Identifier: Apache-2.0

// Package contract holds all that the engine shares with those who operate it: the
// configuration of a job, the status report, and the control API with its client. Plain
// structs and JSON; no other package of the engine is visible to the Kubernetes operator.
package contract
