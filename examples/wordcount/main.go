// SPDX-License-Identifier: Apache-2.0

// Command wordcount counts the words of the text files below a directory, with the Go SDK.
//
//	WORDCOUNT_IN=texts WORDCOUNT_OUT=counts go run ./examples/wordcount run --storage state
//
// Every line of the output is a new count of a word; the highest is the last.
package main

import (
	"cmp"
	"os"
	"strconv"

	"github.com/weir-stream/weir/runtime/connector/files"
	"github.com/weir-stream/weir/runtime/program"
	"github.com/weir-stream/weir/runtime/stream"
)

func main() { program.Main(stream.Build(describe)) }

func describe(j *stream.Job) {
	in := files.Input{Path: cmp.Or(os.Getenv("WORDCOUNT_IN"), "in")}
	out := files.Output{Path: cmp.Or(os.Getenv("WORDCOUNT_OUT"), "out")}

	lines := stream.From(j, "lines", files.Lines(in), stream.Bounded())
	words := stream.FlatMap(lines, "words", splitWords)
	byWord := stream.KeyBy(words, func(w string) string { return w })
	counts := stream.Count(byWord, "counts")
	stream.To(counts, "out", files.Sink(out, appendCount), stream.Transactional())
}

// splitWords emits the runs of ASCII letters of a line, in lower case.
func splitWords(line string, out *stream.Collector[string]) {
	word := make([]byte, 0, 32)
	for i := range len(line) + 1 {
		var c byte
		if i < len(line) {
			c = line[i]
		}
		switch {
		case 'a' <= c && c <= 'z':
			word = append(word, c)
		case 'A' <= c && c <= 'Z':
			word = append(word, c+'a'-'A')
		case len(word) > 0:
			out.Emit(string(word))
			word = word[:0]
		}
	}
}

// appendCount writes one line of the output.
func appendCount(dst []byte, c stream.Counted[string]) []byte {
	dst = append(dst, `{"word":"`...)
	dst = append(dst, c.Key...)
	dst = append(dst, `","count":`...)
	dst = strconv.AppendInt(dst, c.Count, 10)
	return append(dst, "}\n"...)
}
