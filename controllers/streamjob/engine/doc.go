// SPDX-License-Identifier: Apache-2.0

// Package engine keeps the operator informed of what the coordinators report. A [Poller] asks the control API of each job that it was
// told to watch, keeps the newest answer, and says on a channel which jobs have something new to look at. Reconciling a job
// therefore never waits for a coordinator: it reads what was reported last. Commands are bounded by a few seconds, and what
// became of them is found in a later report.
package engine
