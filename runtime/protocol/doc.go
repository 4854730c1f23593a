// SPDX-License-Identifier: Apache-2.0

// Package protocol holds the messages between the coordinator and the workers of a job, as
// plain values. It has no behaviour: the pure cores produce and consume these, the shells
// carry them. Every message about tasks names its [Attempt]; one of another attempt is stale.
package protocol
