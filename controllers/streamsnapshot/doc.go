// SPDX-License-Identifier: Apache-2.0

// Package streamsnapshot reconciles StreamSnapshots, and the schedules of StreamJobs that make them. A pass reads, has package plan decide, acts, and writes
// the status once; it waits for nothing and nobody. What coordinators say comes from the poller of package streamjob.
package streamsnapshot
