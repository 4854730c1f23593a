// SPDX-License-Identifier: Apache-2.0

// Package plan decides what the operator does about a StreamJob. [Next] takes everything that was observed and the time, and
// returns what to do, the status to write and what to tell people. It calls nobody, keeps nothing and never looks at a clock:
// the same observation always gives the same plan, so every situation can be written down as a test.
//
// Everything is decided from the spec, the children, the report of the engine and the written part of the status: the
// grant, the deployment and the operation in flight, which are always written before they are acted upon. Conditions
// are an outcome, never an input.
package plan
