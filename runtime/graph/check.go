// SPDX-License-Identifier: Apache-2.0

package graph

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
)

// check finds everything that is wrong with the graph.
func check(g *Graph, opts Options) error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if len(g.Nodes) == 0 {
		bad("the job has no operators: add a source and a sink")
	}
	if opts.MaxParallelism < 0 || opts.MaxParallelism > MaxKeyGroups {
		bad("maxParallelism %d is not between 1 and %d", opts.MaxParallelism, MaxKeyGroups)
	}
	if opts.Parallelism < 1 || opts.Parallelism > MaxKeyGroups {
		bad("parallelism %d is not between 1 and %d", opts.Parallelism, MaxKeyGroups)
	}
	seen := map[string]*Node{}
	for _, n := range g.Nodes {
		if n.Name == "" {
			bad("an operator has no name: state is restored by name, so every operator needs one")
			continue
		}
		if seen[n.Name] != nil {
			bad("operator name %q is used twice: names are identities and must be unique", n.Name)
		}
		errs = append(errs, checkNode(n, seen)...)
		seen[n.Name] = n
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("checking the graph: %w", err)
	}
	return nil
}

func checkNode(n *Node, seen map[string]*Node) (errs []error) {
	bad := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("operator %q: "+format, append([]any{n.Name}, args...)...))
	}
	if (n.NewSource == nil) == (n.NewOperator == nil) {
		bad("needs either a source or an operator")
	}
	if (n.NewSource != nil) != (len(n.Inputs) == 0) {
		bad("a source has no inputs, everything else has at least one")
	}
	if n.Parallelism < 0 || n.Parallelism > MaxKeyGroups {
		bad("parallelism %d is not between 1 and %d", n.Parallelism, MaxKeyGroups)
	}
	for _, e := range n.Inputs {
		from := seen[e.From]
		switch {
		case from == nil:
			bad("input %q doesn't exist or comes later in the graph (a cycle?)", e.From)
		case from.Output == nil:
			bad("input %q is a sink and emits nothing", e.From)
		case (e.Partition == Hash) != (e.NewHasher != nil):
			bad("input %q: a hash edge, and only that, needs a key", e.From)
		case n.Keyed && e.Partition != Hash && e.Partition != Broadcast:
			bad("has keyed state, so input %q must be keyed, or be broadcast to all subtasks", e.From)
		}
	}
	return errs
}

// fingerprint digests everything that coordinator and workers must agree on.
func fingerprint(p *Plan) string {
	h := sha256.New()
	fmt.Fprintf(h, "max=%d\n", p.MaxParallelism)
	for _, v := range p.Vertices {
		fmt.Fprintf(h, "vertex %q p=%d\n", v.Name, v.Parallelism)
		for _, n := range v.Nodes {
			digestNode(h, n)
		}
	}
	for _, e := range p.Edges {
		fmt.Fprintf(h, "edge %d %q>%q in=%d %s %q\n", e.Index, e.From.Name, e.To.Name, e.Input, e.Partition, e.Type.Name())
	}
	return hex.EncodeToString(h.Sum(nil))[:16]
}

func digestNode(h io.Writer, n *Node) {
	out := ""
	if n.Output != nil {
		out = n.Output.Name()
	}
	fmt.Fprintf(h, "node %q keyed=%t out=%q sig=%q\n", n.Name, n.Keyed, out, n.Signature)
}
