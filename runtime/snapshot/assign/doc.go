// SPDX-License-Identifier: Apache-2.0

// Package assign gives the state of a snapshot to the subtasks of a new graph.
//
// Operators are matched by name, then by their previous names. Keyed state goes by key group: a new
// subtask gets every old file that holds some of its groups, and filters while it reads. Operator state goes by list,
// as the mode of the list says. What the new graph has no place for is an error unless the user allowed
// to drop it. The package is pure; all problems of a restore are found before anything is deployed and named in one error.
package assign
