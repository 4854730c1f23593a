// SPDX-License-Identifier: Apache-2.0

// Package dataflow builds the graph of a declarative job: operators that are listed by name, with
// expressions in CEL. Everything is checked before anything starts, and all mistakes are
// reported together. docs/reference/dataflow.md describes the language.
//
// Below it, columns holds the rows, expr compiles and evaluates expressions over columns, steps has
// the operators, and lines reads and writes text and JSON lines.
package dataflow
