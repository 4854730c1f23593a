// SPDX-License-Identifier: Apache-2.0

// Package stream is the Go SDK: a job as typed streams.
//
//	func build(j *stream.Job) {
//		lines := stream.From(j, "lines", newLines)
//		words := stream.FlatMap(lines, "words", func(l string, out *stream.Collector[string]) { ... })
//		counts := stream.Count(stream.KeyBy(words, func(w string) string { return w }), "counts")
//		stream.To(counts, "sink", newSink)
//	}
//
// Functions on a stream add an operator to the job; its name is the identity by which state is
// restored, so every operator needs one and keeps it. Mistakes are collected and reported when
// the graph is built. Functions given by the user are called for one row at a time, from one goroutine for each
// subtask; they must not keep state of their own outside of what the SDK offers, since that would not be in a snapshot.
//
// Rows travel between subtasks in memory by copying the value; what a row points to is shared and must not be changed.
// Between processes rows are encoded by a [record.Coder]: built in for numbers, booleans, strings,
// byte slices and structs of those.
package stream
