// SPDX-License-Identifier: Apache-2.0

// Package operatortest freezes what operators write to snapshots: a golden file shows lists of entries as text, and files of keyed state as hexadecimal digits, for
// people to review, and gives them back byte by byte, so that what one version has written is there for the tests of all later ones.
package operatortest

import (
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-stream/weir/runtime/operator"
	"github.com/weir-stream/weir/runtime/record"
)

// Text shows lists: for each a line `list <name> <mode> <type>`, name and type quoted as in Go, and below it a line for each entry, quoted the same way, or as
// hexadecimal digits if it is binary.
func Text(lists []operator.List) string {
	var b strings.Builder
	for _, l := range lists {
		fmt.Fprintf(&b, "list %s %d %s\n", strconv.Quote(l.Name), l.Mode, strconv.Quote(l.Type))
		for _, e := range l.Entries {
			b.WriteString("\t" + quote(string(e)) + "\n")
		}
	}
	return b.String()
}

// binary begins a line with an entry that isn't text.
const binary = "hex "

func quote(s string) string {
	switch {
	case strings.ContainsFunc(s, func(r rune) bool { return r == utf8.RuneError || !unicode.IsPrint(r) }):
		return binary + hex.EncodeToString([]byte(s))
	case strconv.CanBackquote(s):
		return "`" + s + "`"
	default:
		return strconv.Quote(s)
	}
}

func unquote(s string) ([]byte, error) {
	if digits, ok := strings.CutPrefix(s, binary); ok {
		return hex.DecodeString(digits)
	}
	text, err := strconv.Unquote(s)
	return []byte(text), err
}

// Parse is the inverse of [Text]. Empty lines and those that begin with # are left out. The error names the line.
func Parse(text string) ([]operator.List, error) {
	var lists []operator.List
	number := 0
	for line := range strings.Lines(text) {
		number++
		line = strings.TrimSuffix(line, "\n")
		var err error
		switch entry, ok := strings.CutPrefix(line, "\t"); {
		case line == "" || line[0] == '#':
		case ok && len(lists) > 0:
			var b []byte
			b, err = unquote(entry)
			last := &lists[len(lists)-1]
			last.Entries = append(last.Entries, b)
		default:
			var l operator.List
			_, err = fmt.Sscanf(line, "list %q %d %q", &l.Name, &l.Mode, &l.Type)
			lists = append(lists, l)
		}
		if err != nil {
			return nil, fmt.Errorf("line %d, %q: %w", number, line, err)
		}
	}
	return lists, nil
}

// Read returns the lists of a golden file in testdata of the package under test.
func Read(tb testing.TB, name string) []operator.List {
	tb.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		tb.Fatal(err)
	}
	lists, err := Parse(string(text))
	if err != nil {
		tb.Fatalf("%s: %v", name, err)
	}
	return lists
}

// Golden fails the test unless written is what the golden file has. A golden file is never written anew: state in savepoints looks like it. What differs on
// purpose gets another form that can be told from the old one, and a file of its own.
func Golden(tb testing.TB, name string, written []operator.List) {
	tb.Helper()
	if d := cmp.Diff(Text(Read(tb, name)), Text(written)); d != "" {
		tb.Errorf("state is not written as %s says (-want +got):\n%s\nin full:\n%s", name, d, Text(written))
	}
}

// ReadBytes returns the bytes of a golden file in testdata of the package under test, which shows them as hex.Dump does.
func ReadBytes(tb testing.TB, name string) []byte {
	tb.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		tb.Fatal(err)
	}
	const from, to = 10, 58 // the columns of the digits
	var b []byte
	for line := range strings.Lines(string(text)) {
		if len(line) <= to {
			continue // the last line has the length alone
		}
		row, err := hex.DecodeString(strings.ReplaceAll(line[from:to], " ", ""))
		if err != nil {
			tb.Fatalf("%s: line %q: %v", name, line, err)
		}
		b = append(b, row...)
	}
	return b
}

// GoldenBytes is [Golden] for a file of keyed state.
func GoldenBytes(tb testing.TB, name string, written []byte) {
	tb.Helper()
	if d := cmp.Diff(hex.Dump(ReadBytes(tb, name)), hex.Dump(written)); d != "" {
		tb.Errorf("state is not written as %s says (-want +got):\n%s\nin full:\n%s", name, d, hex.Dump(written))
	}
}

// Snapshot returns what an operator writes to the checkpoint of that id.
func Snapshot(tb testing.TB, op operator.Stateful, checkpoint int64) []operator.List {
	tb.Helper()
	write, err := op.Snapshot(record.Barrier{Checkpoint: checkpoint})
	if err != nil {
		tb.Fatal(err)
	}
	lists, err := write(tb.Context())
	if err != nil {
		tb.Fatal(err)
	}
	return lists
}
