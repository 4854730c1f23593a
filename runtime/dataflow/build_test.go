// SPDX-License-Identifier: Apache-2.0

package dataflow

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"

	"github.com/weir-stream/weir/runtime/connector/format"
	"github.com/weir-stream/weir/runtime/contract"
	"github.com/weir-stream/weir/runtime/graph"
	"github.com/weir-stream/weir/runtime/operator"
	"github.com/weir-stream/weir/runtime/record"
	"github.com/weir-stream/weir/runtime/state"
)

// fakeFiles gives the lines of the test to every files source and gathers what file sinks write.
type fakeFiles struct {
	lines []string
	out   bytes.Buffer
	// discard drops what file sinks write.
	discard bool
}

func (f *fakeFiles) FilesSource(_ string, spec *contract.FilesSource, newDecoder func() format.Decoder) (func() operator.Source, error) {
	if spec.Path == "" {
		return nil, fmt.Errorf("path is missing")
	}
	return func() operator.Source { return &fakeSource{lines: f.lines, decoder: newDecoder()} }, nil
}

func (f *fakeFiles) FileSink(_ string, _ *contract.FileSink, newEncoder func() format.Encoder) (func() operator.Operator, error) {
	out := &f.out
	if f.discard {
		out = nil
	}
	return func() operator.Operator { return &fakeSink{out: out, encoder: newEncoder()} }, nil
}

type fakeSource struct {
	lines   []string
	decoder format.Decoder
}

func (s *fakeSource) Open(context.Context, *operator.Context) error { return nil }
func (s *fakeSource) Close() error                                  { return nil }
func (s *fakeSource) Poll() (operator.Polled, error) {
	for len(s.lines) > 0 && !s.decoder.Full() {
		if err := s.decoder.Append([]byte(s.lines[0])); err != nil {
			return operator.Polled{}, err
		}
		s.lines = s.lines[1:]
	}
	p := operator.Polled{State: operator.More, Batch: s.decoder.Take()}
	if len(s.lines) == 0 {
		p.State = operator.End
	}
	return p, nil
}

type fakeSink struct {
	out     *bytes.Buffer
	encoder format.Encoder
	buf     []byte
}

func (s *fakeSink) Open(context.Context, *operator.Context) error { return nil }
func (s *fakeSink) Close() error                                  { return nil }
func (s *fakeSink) Resume() (operator.Status, error)              { return operator.Done, nil }
func (s *fakeSink) Process(_ int, b record.Batch) (operator.Status, error) {
	s.buf = s.encoder.AppendBatch(s.buf[:0], b)
	if s.out != nil {
		s.out.Write(s.buf)
	}
	return operator.Done, nil
}

// harness runs a graph with one subtask for each node. Every emitted batch is handed on at once, through a splitter for
// hash edges; now and then it answers Paused, and then resumes what it paused.
type harness struct {
	t      testing.TB
	edges  map[string][]edge
	paused *rand.Rand
	hashes []uint64
	dests  []uint16
}

type edge struct {
	to     operator.Operator
	hasher record.Hasher
	split  record.Splitter
}

type port struct {
	h    *harness
	from string
}

func (p *port) Emit(b record.Batch) (operator.Status, error) {
	for _, e := range p.h.edges[p.from] {
		if err := p.h.deliver(e, b); err != nil {
			return operator.Done, err
		}
	}
	if p.h.paused != nil && p.h.paused.IntN(3) == 0 {
		return operator.Paused, nil
	}
	return operator.Done, nil
}

// deliver hands the batch on, as a chain does, or a copy with hashes, as an exchange does.
func (h *harness) deliver(e edge, b record.Batch) error {
	moved := b
	if e.hasher != nil {
		h.hashes = e.hasher.AppendHashes(h.hashes[:0], b)
		h.dests = append(h.dests[:0], make([]uint16, b.Len())...)
		e.split.Scatter(b, h.hashes, h.dests)
		moved = e.split.Take(0)
		defer moved.Release()
	}
	st, err := e.to.Process(0, moved)
	for st == operator.Paused && err == nil {
		st, err = e.to.Resume()
	}
	return err
}

func run(t testing.TB, g *graph.Graph, paused *rand.Rand) error {
	t.Helper()
	h := &harness{t: t, edges: map[string][]edge{}, paused: paused}
	var sources []operator.Source
	for _, n := range g.Nodes {
		c := &operator.Context{
			Name: n.Name, Parallelism: 1, MaxParallelism: 128, Now: func() time.Time { return time.Unix(0, 0) },
			Out: &port{h: h, from: n.Name}, Log: logr.Discard(),
		}
		if n.NewSource != nil {
			s := n.NewSource()
			if err := s.Open(t.Context(), c); err != nil {
				return err
			}
			sources = append(sources, s)
			continue
		}
		if n.Keyed {
			m, err := state.NewMemory(state.Options{MaxParallelism: 128, Last: 127})
			if err != nil {
				return err
			}
			c.Keyed = m
		}
		op := n.NewOperator()
		if err := op.Open(t.Context(), c); err != nil {
			return err
		}
		for _, in := range n.Inputs {
			e := edge{to: op, split: nodeOf(g, in.From).Output.NewSplitter(1)}
			if in.Partition == graph.Hash {
				e.hasher = in.NewHasher()
			}
			h.edges[in.From] = append(h.edges[in.From], e)
		}
	}
	i := 0
	for _, n := range g.Nodes {
		if n.NewSource == nil {
			continue
		}
		out := &port{h: h, from: n.Name}
		for st := operator.More; st != operator.End; {
			p, err := sources[i].Poll()
			if err != nil {
				return err
			}
			if p.Batch != nil {
				if _, err := out.Emit(p.Batch); err != nil {
					return err
				}
			}
			st = p.State
		}
		i++
	}
	return nil
}

func nodeOf(g *graph.Graph, name string) *graph.Node {
	for _, n := range g.Nodes {
		if n.Name == name {
			return n
		}
	}
	return nil
}

func textSource(name string) contract.Operator {
	return contract.Operator{Name: name, Files: &contract.FilesSource{Path: "in", Format: contract.TextFormat}}
}

func jsonSource(name string, schema ...contract.Column) contract.Operator {
	return contract.Operator{Name: name, Files: &contract.FilesSource{Path: "in", Format: contract.JSONFormat, Schema: schema}}
}

func out(name, input string) contract.Operator {
	return contract.Operator{Name: name, Inputs: []string{input}, FileSink: &contract.FileSink{Path: "out"}}
}

func job(ops ...contract.Operator) contract.JobConfig {
	return contract.JobConfig{Name: "test", Dataflow: &contract.Dataflow{Operators: ops}}
}

// results runs a job over lines and returns the rows it writes.
func results(t *testing.T, cfg contract.JobConfig, lines []string, paused *rand.Rand) []map[string]any {
	t.Helper()
	files := &fakeFiles{lines: lines}
	g, err := Build(cfg, files)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := graph.NewPlan(g, graph.Options{Parallelism: 2}); err != nil {
		t.Fatal(err)
	}
	if err := run(t, g, paused); err != nil {
		t.Fatal(err)
	}
	var rows []map[string]any
	for d := json.NewDecoder(&files.out); d.More(); {
		var row map[string]any
		if err := d.Decode(&row); err != nil {
			t.Fatal(err)
		}
		rows = append(rows, row)
	}
	return rows
}

func wordCount(expression string) contract.JobConfig {
	return job(
		textSource("lines"),
		contract.Operator{Name: "words", Inputs: []string{"lines"}, FlatMap: &contract.FlatMap{Expression: expression, As: "word"}},
		contract.Operator{Name: "by-word", Inputs: []string{"words"}, KeyBy: &contract.KeyBy{Columns: []string{"word"}}},
		contract.Operator{Name: "counts", Inputs: []string{"by-word"}, Aggregate: &contract.Aggregate{
			Aggregates: []contract.AggregateColumn{{Name: "count", Function: contract.CountFunction}},
		}},
		out("out", "counts"),
	)
}

var vocabulary = strings.Fields(`func (t *Table) return err if err != nil { } the The of x := range 42 don't naïve type_name "quoted text" // comment`)

func randomLines(r *rand.Rand, n int) []string {
	lines := make([]string, n)
	for i := range lines {
		words := make([]string, r.IntN(9))
		for j := range words {
			words[j] = vocabulary[r.IntN(len(vocabulary))]
		}
		lines[i] = strings.Join(words, " ")
	}
	return lines
}

func TestBuild_WordCount(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	lines := randomLines(r, 20000)
	want := map[string]float64{}
	for _, l := range lines {
		for _, w := range strings.FieldsFunc(l, func(c rune) bool { return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') }) {
			want[strings.ToLower(w)]++
		}
	}
	for name, paused := range map[string]*rand.Rand{"room": nil, "pausing": r} {
		t.Run(name, func(t *testing.T) {
			got := map[string]float64{}
			for _, row := range results(t, wordCount("line.lowerAscii().words()"), lines, paused) {
				got[fmt.Sprint(row["word"])] = row["count"].(float64)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("counts (-want +got):\n%s", diff)
			}
		})
	}
}

func TestBuild_EveryStep(t *testing.T) {
	people := []contract.Column{{Name: "name", Type: contract.StringColumn}, {Name: "age", Type: contract.IntColumn}, {Name: "w", Type: contract.FloatColumn}}
	cfg := job(
		jsonSource("people", people...),
		contract.Operator{Name: "old", Inputs: []string{"people"}, Filter: &contract.Filter{Expression: "age >= 40"}},
		contract.Operator{Name: "young", Inputs: []string{"people"}, Filter: &contract.Filter{Expression: "age < 40"}},
		contract.Operator{Name: "all", Inputs: []string{"old", "young"}, Union: &struct{}{}},
		contract.Operator{Name: "parts", Inputs: []string{"all"}, FlatMap: &contract.FlatMap{Expression: "name.split('-')", As: "part", Keep: []string{"age", "w"}}},
		contract.Operator{Name: "more", Inputs: []string{"parts"}, Map: &contract.Map{Columns: []contract.NamedExpression{
			{Name: "part", Expression: "part"}, {Name: "old", Expression: "age >= 40"}, {Name: "age", Expression: "age"}, {Name: "w", Expression: "w * 2.0"},
		}}},
		contract.Operator{Name: "keyed", Inputs: []string{"more"}, KeyBy: &contract.KeyBy{Columns: []string{"old", "part"}}},
		contract.Operator{Name: "sums", Inputs: []string{"keyed"}, Aggregate: &contract.Aggregate{Aggregates: []contract.AggregateColumn{
			{Name: "n", Function: contract.CountFunction},
			{Name: "sum", Function: contract.SumFunction, Expression: "age"},
			{Name: "avg", Function: contract.AvgFunction, Expression: "age"},
			{Name: "min", Function: contract.MinFunction, Expression: "w"},
			{Name: "max", Function: contract.MaxFunction, Expression: "string(age)"},
			{Name: "last", Function: contract.LastFunction, Expression: "w > 5.0"},
		}}},
		out("out", "sums"),
	)
	lines := []string{
		`{"name":"a-b","age":50,"w":1.5}`, `{"name":"a","age":9,"w":2}`, `{"name":"a","age":41,"w":3}`, `{"name":"b-a","age":10}`,
	}
	got := results(t, cfg, lines, nil)
	want := []map[string]any{
		{"old": true, "part": "a", "n": 2.0, "sum": 91.0, "avg": 45.5, "min": 3.0, "max": "50", "last": true},
		{"old": true, "part": "b", "n": 1.0, "sum": 50.0, "avg": 50.0, "min": 3.0, "max": "50", "last": false},
		{"old": false, "part": "a", "n": 2.0, "sum": 19.0, "avg": 9.5, "min": 0.0, "max": "9", "last": false},
		{"old": false, "part": "b", "n": 1.0, "sum": 10.0, "avg": 10.0, "min": 0.0, "max": "10", "last": false},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
}

func TestBuild_RuntimeErrorsNameOperatorExpressionAndRow(t *testing.T) {
	numbers := jsonSource("numbers", contract.Column{Name: "n", Type: contract.IntColumn}, contract.Column{Name: "s", Type: contract.StringColumn})
	divide := contract.Operator{Name: "divide", Inputs: []string{"numbers"}, Map: &contract.Map{Columns: []contract.NamedExpression{{Name: "q", Expression: "100 / n"}}}}
	sum := []contract.Operator{
		{Name: "keyed", Inputs: []string{"numbers"}, KeyBy: &contract.KeyBy{Columns: []string{"s"}}},
		{Name: "sum", Inputs: []string{"keyed"}, Aggregate: &contract.Aggregate{Aggregates: []contract.AggregateColumn{{Name: "total", Function: contract.SumFunction, Expression: "n"}}}},
	}
	for name, tc := range map[string]struct {
		cfg  contract.JobConfig
		want string
	}{
		"division": {
			job(numbers, divide, out("out", "divide")),
			`operator "divide": evaluating "100 / n" for the row (n=0, s="` + strings.Repeat("x", 80) + `"...): division by zero`,
		},
		"overflow": {
			job(append([]contract.Operator{numbers, out("out", "sum")}, sum...)...),
			`operator "sum": aggregate "total": the sum no longer fits an Int (64 bits) at the row (n=9223372036854775807, s="k"); use a Float: double(...)`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			g, err := Build(tc.cfg, &fakeFiles{lines: []string{
				`{"n":1,"s":"k"}`, `{"n":9223372036854775807,"s":"k"}`, `{"s":"` + strings.Repeat("x", 300) + `"}`,
			}})
			if err != nil {
				t.Fatal(err)
			}
			if err := run(t, g, nil); err == nil || err.Error() != tc.want {
				t.Errorf("got  %v\nwant %s", err, tc.want)
			}
		})
	}
}

func TestBuild_WithoutConnectors(t *testing.T) {
	_, err := Build(job(textSource("src"), logOf("log", "src")), nil)
	if err == nil || !strings.Contains(err.Error(), `operator "src": this engine has no connector for files`) {
		t.Errorf("got %v", err)
	}
	forever := contract.Operator{Name: "forever", Generator: &contract.Generator{}}
	if _, err := Build(job(forever, logOf("log", "forever")), nil); err != nil {
		t.Errorf("a job without files: %v", err)
	}
}

func TestBuild_Generator(t *testing.T) {
	cfg := job(
		contract.Operator{Name: "numbers", Generator: &contract.Generator{Keys: 300, Rows: 10007}},
		contract.Operator{Name: "keyed", Inputs: []string{"numbers"}, KeyBy: &contract.KeyBy{Columns: []string{"key"}}},
		contract.Operator{Name: "check", Inputs: []string{"keyed"}, Aggregate: &contract.Aggregate{Aggregates: []contract.AggregateColumn{
			{Name: "n", Function: contract.CountFunction}, {Name: "newest", Function: contract.MaxFunction, Expression: "seq"},
		}}},
		out("out", "check"),
	)
	last := map[float64]float64{}
	for _, row := range results(t, cfg, nil, nil) {
		if row["n"] != row["newest"] {
			t.Fatalf("row %v: the count differs from the newest sequence", row)
		}
		last[row["key"].(float64)] = row["n"].(float64)
	}
	total := 0.0
	for _, n := range last {
		total += n
	}
	if len(last) != 300 || total != 10007 {
		t.Errorf("%d keys with %v rows", len(last), total)
	}
}
