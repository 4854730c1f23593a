// SPDX-License-Identifier: Apache-2.0

// Package columns holds the rows of declarative dataflows column by column.
//
// A [Batch] has a [Schema] and one [Vector] for each column: a typed slice, and for strings a
// byte arena with one [Span] for each row. Several rows, and several batches, may share an arena, so
// taking words out of lines or dropping rows copies spans and no text.
//
// There are two sorts of batches. A batch made by [Schema.NewBatch] owns its vectors; it comes from the
// pool of its schema and goes back there with the last Release. A view, made by [Schema.NewView],
// belongs to the operator that emits it: its vectors may be those of the operator's input, so it is
// valid only as long as that one is, which is exactly what a borrowed batch promises.
//
// Strings are valid UTF-8. There are no nulls.
package columns
