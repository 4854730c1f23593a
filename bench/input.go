// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/bits"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/weir-stream/weir/runtime/contract"
	"github.com/weir-stream/weir/runtime/graph"
	"github.com/weir-stream/weir/runtime/program/declarative"
)

const (
	// inputParts is how many files one copy of the input has.
	inputParts = 8
	jsonLines  = 1_000_000
	jsonLength = 200
	jsonPrice  = 50
)

// input is what a declarative job reads: the same files again and again, under other names.
type input struct {
	dir string
	// lines of one copy.
	lines  int64
	copies int64
	// words of one copy of a text and how often they occur.
	words map[string]int64
	// passing is how many lines of a copy of the JSON lines pass the filter.
	passing int64
}

// newInput writes one copy.
func newInput(ctx context.Context, s *scenario, dir string) (*input, error) {
	in := &input{dir: filepath.Join(dir, "once")}
	if err := os.MkdirAll(in.dir, 0o750); err != nil {
		return nil, fmt.Errorf("making the directory of the input: %w", err)
	}
	if s.json {
		return in, in.writeJSON()
	}
	return in, in.writeText(ctx)
}

// parts are the files of one copy.
type parts struct {
	files   []*os.File
	writers []*bufio.Writer
}

func newParts(dir string) (*parts, error) {
	p := &parts{}
	for i := range inputParts {
		f, err := os.Create(filepath.Join(dir, fmt.Sprintf("part-%d", i)))
		if err != nil {
			return nil, errors.Join(fmt.Errorf("writing the input: %w", err), p.close())
		}
		p.files = append(p.files, f)
		p.writers = append(p.writers, bufio.NewWriterSize(f, 1<<20))
	}
	return p, nil
}

func (p *parts) close() error {
	var errs []error
	for i, f := range p.files {
		errs = append(errs, p.writers[i].Flush(), f.Close())
	}
	return errors.Join(errs...)
}

// writeText gathers the lines of Go's own source files and counts their words.
func (in *input) writeText(ctx context.Context) error {
	root, err := exec.CommandContext(ctx, "go", "env", "GOROOT").Output()
	if err != nil {
		return fmt.Errorf("asking Go where its sources are: %w", err)
	}
	p, err := newParts(in.dir)
	if err != nil {
		return err
	}
	in.words = map[string]int64{}
	next := 0
	// The tree may be behind a symbolic link.
	err = filepath.WalkDir(filepath.Join(strings.TrimSpace(string(root)), "src")+string(filepath.Separator), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(path) != ".go" {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if len(text) > 0 && text[len(text)-1] != '\n' {
			text = append(text, '\n')
		}
		in.lines += int64(bytes.Count(text, []byte{'\n'}))
		countWords(in.words, text)
		next++
		_, err = p.writers[next%inputParts].Write(text)
		return err
	})
	if err := errors.Join(err, p.close()); err != nil {
		return fmt.Errorf("gathering Go's source files: %w", err)
	}
	if in.lines == 0 {
		return errors.New("gathering Go's source files: there are none below $(go env GOROOT)/src")
	}
	return nil
}

// countWords counts the longest runs of ASCII letters in lower case.
func countWords(words map[string]int64, text []byte) {
	var word []byte
	end := func() {
		if len(word) > 0 {
			words[string(word)]++
			word = word[:0]
		}
	}
	for _, c := range text {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c < 'a' || c > 'z' {
			end()
			continue
		}
		word = append(word, c)
	}
	end()
}

type jsonRow struct {
	ID     int64   `json:"id"`
	User   string  `json:"user"`
	Kind   string  `json:"kind"`
	Price  float64 `json:"price"`
	Active bool    `json:"active"`
	Note   string  `json:"note"`
}

// writeJSON makes random rows of exactly 200 bytes with the line end.
func (in *input) writeJSON() error {
	p, err := newParts(in.dir)
	if err != nil {
		return err
	}
	kinds := [...]string{"view", "click", "purchase", "return"}
	for i := range int64(jsonLines) {
		z := mix(uint64(i) * gamma)
		price, _ := bits.Mul64(z, 10_000)
		row := jsonRow{
			ID: i, User: fmt.Sprintf("user-%06d", z%100_000), Kind: kinds[z>>20%4], Price: float64(price) / 100, Active: z>>30&1 == 1,
		}
		if row.Price > jsonPrice && row.Active {
			in.passing++
		}
		if err := writeRow(p.writers[i%inputParts], row); err != nil {
			return errors.Join(err, p.close())
		}
	}
	in.lines = jsonLines
	return p.close()
}

func writeRow(w io.Writer, row jsonRow) error {
	b, err := json.Marshal(row)
	if err != nil {
		return fmt.Errorf("encoding a row: %w", err)
	}
	row.Note = strings.Repeat("lorem ipsum ", jsonLength/12)[:jsonLength-1-len(b)]
	if b, err = json.Marshal(row); err != nil {
		return fmt.Errorf("encoding a row: %w", err)
	}
	_, err = w.Write(append(b, '\n'))
	return err
}

// copied makes a directory that holds the input several times, without taking more room.
func (in *input) copied(dir string, copies int64) (*input, error) {
	out := *in
	out.dir, out.copies = dir, copies
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, fmt.Errorf("making the directory of the input: %w", err)
	}
	for c := range copies {
		for i := range inputParts {
			from, to := filepath.Join(in.dir, fmt.Sprintf("part-%d", i)), filepath.Join(dir, fmt.Sprintf("%05d-%d", c, i))
			if err := os.Link(from, to); err != nil {
				return nil, fmt.Errorf("repeating the input by a link: %w", err)
			}
		}
	}
	return &out, nil
}

// wordCount is the declarative word count. Its input doesn't end, so that all state is in the savepoint with which it is stopped.
func wordCount(dir string) *contract.Dataflow {
	return &contract.Dataflow{Operators: []contract.Operator{
		{Name: "lines", Files: &contract.FilesSource{Path: dir, Format: contract.TextFormat, Continuous: &contract.Continuous{}}},
		{Name: "words", Inputs: []string{"lines"}, FlatMap: &contract.FlatMap{Expression: "line.lowerAscii().words()", As: "word"}},
		{Name: "by-word", Inputs: []string{"words"}, KeyBy: &contract.KeyBy{Columns: []string{"word"}}},
		{Name: "count", Inputs: []string{"by-word"}, Aggregate: &contract.Aggregate{Aggregates: []contract.AggregateColumn{{Name: "n", Function: contract.CountFunction}}}},
		{Name: "sink", Inputs: []string{"count"}, Log: &contract.LogSink{}},
	}}
}

// filterMap is the declarative filter and map over JSON lines.
func filterMap(dir string) *contract.Dataflow {
	return &contract.Dataflow{Operators: []contract.Operator{
		{Name: "rows", Files: &contract.FilesSource{Path: dir, Format: contract.JSONFormat, Continuous: &contract.Continuous{}, Schema: []contract.Column{
			{Name: "id", Type: contract.IntColumn},
			{Name: "user", Type: contract.StringColumn},
			{Name: "kind", Type: contract.StringColumn},
			{Name: "price", Type: contract.FloatColumn},
			{Name: "active", Type: contract.BoolColumn},
		}}},
		{Name: "filter", Inputs: []string{"rows"}, Filter: &contract.Filter{Expression: fmt.Sprintf("price > %d.0 && active", jsonPrice)}},
		{Name: "map", Inputs: []string{"filter"}, Map: &contract.Map{Columns: []contract.NamedExpression{
			{Name: "id", Expression: "id"}, {Name: "who", Expression: "user + '/' + kind"}, {Name: "gross", Expression: "price * 1.19"},
		}}},
		{Name: "sink", Inputs: []string{"map"}, Log: &contract.LogSink{}},
	}}
}

// buildDataflow builds a declarative job as the engine does, but for its sink, which counts instead of logging.
func buildDataflow(cfg contract.JobConfig) (*graph.Graph, error) {
	g, err := declarative.Build(cfg)
	if err != nil {
		return nil, err
	}
	for _, n := range g.Nodes {
		if n.Name == "sink" {
			n.NewOperator = newTimedSink
		}
	}
	return g, nil
}
