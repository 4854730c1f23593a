// SPDX-License-Identifier: Apache-2.0

// Package resources builds the objects that a version of a StreamJob consists of: its stored revision, its coordinator, its
// workers, and the agent pods that look at its storage. All functions are pure: the same StreamJob, grant and revision
// always give the same apply configurations, which the goldens under testdata hold.
//
// Objects are always built from a [Revision] that was stored before, never from the spec as it is now: a running version
// stays what it is while its StreamJob is edited, and so does it when the operator itself is replaced.
package resources
