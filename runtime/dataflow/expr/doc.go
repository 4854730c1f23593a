// SPDX-License-Identifier: Apache-2.0

// Package expr compiles CEL expressions over the columns of a schema and evaluates them a batch at a time.
//
// cel-go parses and checks. What is hot (columns, arithmetic, comparison, logic, conditionals, conversions, string
// functions, membership in a literal list, and the lists that a flatMap takes apart) is compiled to nodes
// that loop over vectors; anything else becomes a node that asks cel-go's interpreter row by row. Both mix
// freely in one expression and agree on every value and on which rows are errors; a differential test says so.
//
// Errors are per row, because CEL absorbs them: false && error is false, and the branch of a conditional that is not
// taken doesn't matter. A node marks rows as bad; only when a bad row is left in the result does
// evaluation fail, and then the interpreter is asked about that row for the text of the error.
package expr
