// SPDX-License-Identifier: Apache-2.0

package graph_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-stream/weir/runtime/graph"
	"github.com/weir-stream/weir/runtime/operator"
	"github.com/weir-stream/weir/runtime/record"
)

var rows = record.NewRowType(record.MustCoderOf[int64]())

func source(name string) *graph.Node {
	return &graph.Node{Name: name, NewSource: func() operator.Source { return nil }, Output: rows}
}

func node(name string, inputs ...graph.Edge) *graph.Node {
	return &graph.Node{Name: name, NewOperator: func() operator.Operator { return nil }, Output: rows, Inputs: inputs}
}

func forward(from string) graph.Edge { return graph.Edge{From: from} }

func hash(from string) graph.Edge {
	return graph.Edge{From: from, Partition: graph.Hash, NewHasher: func() record.Hasher { return nil }}
}

func with(n *graph.Node, f func(*graph.Node)) *graph.Node {
	f(n)
	return n
}

func describe(p *graph.Plan) string {
	var b strings.Builder
	for _, v := range p.Vertices {
		var names []string
		for _, n := range v.Nodes {
			names = append(names, n.Name)
		}
		fmt.Fprintf(&b, "%s x%d", strings.Join(names, ">"), v.Parallelism)
		for _, e := range v.Inputs {
			fmt.Fprintf(&b, " <-%s/%s", e.From.Name, e.Partition)
		}
		b.WriteString("\n")
	}
	return b.String()
}

func TestNewPlan(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		nodes []*graph.Node
		opts  graph.Options
		want  string
	}{
		"a chain is one vertex": {
			[]*graph.Node{source("s"), node("a", forward("s")), node("b", forward("a"))},
			graph.Options{Parallelism: 2},
			"s>a>b x2\n",
		},
		"chaining disabled": {
			[]*graph.Node{source("s"), node("a", forward("s"))},
			graph.Options{Parallelism: 2, DisableChaining: true},
			"s x2\na x2 <-s/forward\n",
		},
		"a key breaks the chain": {
			[]*graph.Node{source("s"), node("a", forward("s")), node("c", hash("a")), node("o", forward("c"))},
			graph.Options{Parallelism: 3},
			"s>a x3\nc>o x3 <-s/hash\n",
		},
		"another parallelism breaks it and rebalances": {
			[]*graph.Node{source("s"), with(node("a", forward("s")), func(n *graph.Node) { n.Parallelism = 3 })},
			graph.Options{Parallelism: 2},
			"s x2\na x3 <-s/rebalance\n",
		},
		"two consumers break it": {
			[]*graph.Node{source("s"), node("a", forward("s")), node("b", forward("s"))},
			graph.Options{},
			"s x1\na x1 <-s/forward\nb x1 <-s/forward\n",
		},
		"union": {
			[]*graph.Node{source("s"), source("u"), node("a", forward("s"), forward("u"))},
			graph.Options{Parallelism: 2},
			"s x2\nu x2\na x2 <-s/forward <-u/forward\n",
		},
		"a node's own bound": {
			[]*graph.Node{with(source("s"), func(n *graph.Node) { n.MaxParallelism = 1 }), node("a", forward("s"))},
			graph.Options{Parallelism: 2},
			"s x1\na x2 <-s/rebalance\n",
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, err := graph.NewPlan(&graph.Graph{Nodes: tc.nodes}, tc.opts)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, describe(p)); diff != "" {
				t.Errorf("plan (-want +got):\n%s", diff)
			}
		})
	}
}

func TestNewPlan_Refuses(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		nodes []*graph.Node
		opts  graph.Options
		want  string
	}{
		"nothing":          {nil, graph.Options{}, "no operators"},
		"no name":          {[]*graph.Node{source("")}, graph.Options{}, "has no name"},
		"a name twice":     {[]*graph.Node{source("s"), source("s")}, graph.Options{}, `"s" is used twice`},
		"unknown input":    {[]*graph.Node{source("s"), node("a", forward("x"))}, graph.Options{}, `input "x" doesn't exist`},
		"keyed, not keyed": {[]*graph.Node{source("s"), with(node("a", forward("s")), func(n *graph.Node) { n.Keyed = true })}, graph.Options{}, "must be keyed"},
		"from a sink": {
			[]*graph.Node{source("s"), with(node("a", forward("s")), func(n *graph.Node) { n.Output = nil }), node("b", forward("a"))},
			graph.Options{},
			"emits nothing",
		},
		"too parallel":          {[]*graph.Node{source("s")}, graph.Options{Parallelism: 9, MaxParallelism: 8}, "parallelism 9 is above maxParallelism 8"},
		"too many key groups":   {[]*graph.Node{source("s")}, graph.Options{MaxParallelism: 40000}, "maxParallelism 40000"},
		"a source with inputs":  {[]*graph.Node{source("r"), with(source("s"), func(n *graph.Node) { n.Inputs = []graph.Edge{forward("r")} })}, graph.Options{}, "a source has no inputs"},
		"an operator without":   {[]*graph.Node{node("a")}, graph.Options{}, "everything else has at least one"},
		"neither of both kinds": {[]*graph.Node{{Name: "n"}}, graph.Options{}, "needs either"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := graph.NewPlan(&graph.Graph{Nodes: tc.nodes}, tc.opts)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want an error with %q", err, tc.want)
			}
		})
	}
}

func TestPlan_ChannelsAgreeOnBothSides(t *testing.T) {
	t.Parallel()
	g := &graph.Graph{Nodes: []*graph.Node{
		source("s"), with(source("u"), func(n *graph.Node) { n.Parallelism = 2 }),
		node("c", hash("s"), hash("u")), with(node("d", forward("c")), func(n *graph.Node) { n.NoChain = true }),
	}}
	p, err := graph.NewPlan(g, graph.Options{Parallelism: 3})
	if err != nil {
		t.Fatal(err)
	}
	written, read := map[graph.ChannelID]int{}, map[graph.ChannelID]int{}
	for _, v := range p.Vertices {
		for s := range v.Parallelism {
			for _, c := range v.InputChannels(s) {
				read[c.ChannelID]++
			}
			for _, e := range v.Outputs {
				for _, id := range e.OutputChannels(s) {
					written[id]++
				}
			}
		}
	}
	if diff := cmp.Diff(written, read); diff != "" {
		t.Errorf("channels written and read differ:\n%s", diff)
	}
	if len(read) != 9+6+3 {
		t.Errorf("got %d channels, want 18", len(read))
	}
	for id, n := range read {
		if n != 1 {
			t.Errorf("channel %s is read %d times", id, n)
		}
	}
}

func TestPlan_Fingerprint(t *testing.T) {
	t.Parallel()
	fp := func(opts graph.Options, ns ...*graph.Node) string {
		p, err := graph.NewPlan(&graph.Graph{Nodes: ns}, opts)
		if err != nil {
			t.Fatal(err)
		}
		return p.Fingerprint
	}
	base := fp(graph.Options{Parallelism: 2}, source("s"), node("a", forward("s")))
	if again := fp(graph.Options{Parallelism: 2}, source("s"), node("a", forward("s"))); again != base {
		t.Errorf("the same graph has fingerprints %s and %s", base, again)
	}
	others := map[string]string{
		"parallelism": fp(graph.Options{Parallelism: 3}, source("s"), node("a", forward("s"))),
		"name":        fp(graph.Options{Parallelism: 2}, source("s"), node("b", forward("s"))),
		"signature":   fp(graph.Options{Parallelism: 2}, source("s"), with(node("a", forward("s")), func(n *graph.Node) { n.Signature = "x" })),
		"key groups":  fp(graph.Options{Parallelism: 2, MaxParallelism: 64}, source("s"), node("a", forward("s"))),
	}
	for what, f := range others {
		if f == base {
			t.Errorf("another %s doesn't change the fingerprint", what)
		}
	}
}

func TestKeyGroupRange_CoversAll(t *testing.T) {
	t.Parallel()
	for _, maxP := range []int{1, 7, 16, 128, 32768} {
		for p := 1; p <= min(maxP, 17); p++ {
			r := graph.NewRouter(p, maxP)
			next := 0
			for i := range p {
				first, last := graph.KeyGroupRange(i, p, maxP)
				if first != next {
					t.Fatalf("max %d, subtask %d of %d begins at %d, want %d", maxP, i, p, first, next)
				}
				for g := first; g <= last; g++ {
					if o := r.AppendOwners(nil, []uint64{uint64(g)}); o[0] != uint16(i) {
						t.Fatalf("max %d, p %d: group %d is routed to %d, want %d", maxP, p, g, o[0], i)
					}
				}
				next = last + 1
			}
			if next != maxP {
				t.Fatalf("max %d, p %d: groups end at %d", maxP, p, next)
			}
		}
	}
}

func TestDefaultMaxParallelism(t *testing.T) {
	t.Parallel()
	for p, want := range map[int]int{1: 128, 85: 128, 86: 256, 128: 256, 1000: 2048, 30000: 32768} {
		if got := graph.DefaultMaxParallelism(p); got != want {
			t.Errorf("parallelism %d: got %d, want %d", p, got, want)
		}
	}
}
