// SPDX-License-Identifier: Apache-2.0

// Package certs issues the certificates of a job. Each job has a certificate authority of its own, kept in a secret that no
// pod mounts, and one certificate for each role: its coordinator, its workers, and clients of its control API. What a
// certificate is for is its role, so a certificate of one job is worth nothing to another, and it holds wherever a pod runs.
//
// Nothing here reads a clock or calls anybody: [Secrets] takes the secrets as they are and says what has to be applied.
package certs
