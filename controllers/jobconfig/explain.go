// SPDX-License-Identifier: Apache-2.0

package jobconfig

import (
	"fmt"
	"strings"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
)

// explainGraph names the operators that break the rules about how operators are connected. The rules of the API
// cannot: an expression that finds the name costs more than the API server grants.
func explainGraph(operators []streamv1.Operator) []string {
	g := graph{
		byName: make(map[streamv1.OperatorName]*streamv1.Operator, len(operators)),
		read:   make(map[streamv1.OperatorName]bool, len(operators)),
		owners: map[streamv1.OperatorName][]streamv1.OperatorName{},
	}
	for i := range operators {
		o := &operators[i]
		g.byName[o.Name] = o
		for _, input := range o.Inputs {
			g.read[input] = true
		}
		for _, name := range append([]streamv1.OperatorName{o.Name}, o.PreviousNames...) {
			g.owners[name] = append(g.owners[name], o.Name)
		}
	}
	var details []string
	for i := range operators {
		details = append(details, g.explain(&operators[i])...)
	}
	return details
}

// graph indexes operators by what refers to them.
type graph struct {
	byName map[streamv1.OperatorName]*streamv1.Operator
	// read holds the names that are inputs of some operator.
	read map[streamv1.OperatorName]bool
	// owners holds the operators that have or had a name.
	owners map[streamv1.OperatorName][]streamv1.OperatorName
}

func (g *graph) explain(o *streamv1.Operator) []string {
	var details []string
	for _, input := range o.Inputs {
		from, exists := g.byName[input]
		switch {
		case !exists:
			details = append(details, fmt.Sprintf("operator %q: there is no operator %q to be its input", o.Name, input))
		case isSink(from):
			details = append(details, fmt.Sprintf("operator %q: its input %q is a sink", o.Name, input))
		case o.Aggregate != nil && from.KeyBy == nil:
			details = append(details, fmt.Sprintf("operator %q: its input %q is not a keyBy; put one between them", o.Name, input))
		}
	}
	if !isSink(o) && !g.read[o.Name] {
		details = append(details, fmt.Sprintf("operator %q: no operator has it as input; add a reader, or remove it", o.Name))
	}
	for _, name := range o.PreviousNames {
		if len(g.owners[name]) > 1 {
			details = append(details, fmt.Sprintf("operator %q: its previous name %q belongs to several operators: %v", o.Name, name, g.owners[name]))
		}
	}
	return details
}

func isSink(o *streamv1.Operator) bool { return o.FileSink != nil || o.Log != nil }

// explainTypes says what to write when YAML reads an unquoted text as something else.
func explainTypes(problems []string) []string {
	all := strings.Join(problems, "\n")
	var details []string
	if strings.Contains(all, `must be of type string: "boolean"`) {
		details = append(details, "YAML reads y, n, yes, no, on, off, true and false as booleans: quote them to write a text")
	}
	if strings.Contains(all, `must be of type string: "number"`) || strings.Contains(all, `must be of type string: "integer"`) {
		details = append(details, `a text that looks like a number must be quoted ("1.5"), and a duration needs a unit (10s)`)
	}
	if strings.Contains(all, "(([KMGTPE]i)|[numkMGTPE]|") { // of the pattern of quantities
		details = append(details, "a quantity is a number and right behind it, without a space, its unit: 2Gi and 512Mi of memory, 500m for half a core")
	}
	return details
}
