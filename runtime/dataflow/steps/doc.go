// SPDX-License-Identifier: Apache-2.0

// Package steps has the operators of declarative dataflows: map, filter, flatMap and aggregate over batches of columns.
//
// What a step emits is a view: its vectors are those of its input wherever nothing had to be computed, and the memory
// of its expressions otherwise. That is sound because a batch is borrowed until it is taken in full.
package steps
