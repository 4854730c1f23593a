// SPDX-License-Identifier: Apache-2.0

// Package plan decides what the operator does for a StreamSnapshot, and when the schedule of a StreamJob takes and deletes one. Its functions are pure:
// they see an observation and the time, and return what to do and the status to write. What is asked of the engine has an id that was written to
// the status by an earlier pass, so a pass may be repeated, lost or made by another operator.
package plan
