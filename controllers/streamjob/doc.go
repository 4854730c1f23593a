// SPDX-License-Identifier: Apache-2.0

// Package streamjob is the operator: it makes the cluster as the StreamJobs say. [Reconciler] is its shell. One pass reads the
// StreamJob, its objects and the newest report of its engine, has package plan decide, carries the actions out in order,
// writes the status once, and publishes the events.
//
// A pass never blocks on the engine and never decides on what it has itself made obsolete: what it wrote is remembered until
// the cache shows it, and a pass that would read older objects is put off. At rest a pass neither writes nor asks anybody.
package streamjob
