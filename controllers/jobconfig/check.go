// SPDX-License-Identifier: Apache-2.0

package jobconfig

import (
	"fmt"
	"strings"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
)

// Check returns what is wrong with a StreamJob that its schema and rules cannot see; nothing when it is fine. Each
// message starts with the path of the field.
func Check(job *streamv1.StreamJob) []string {
	var found []string
	if cycle := findCycle(operatorsOf(job)); len(cycle) > 0 {
		found = append(found, fmt.Sprintf("spec.dataflow.operators: Invalid value: operators must not form a cycle: %s",
			strings.Join(cycle, " -> ")))
	}
	return append(found, checkSchedule(job)...)
}

// findCycle returns the names along one cycle, first and last the same, in the direction in which rows flow.
func findCycle(operators []streamv1.Operator) []string {
	search := cycleSearch{
		inputs: make(map[streamv1.OperatorName][]streamv1.OperatorName, len(operators)),
		state:  make(map[streamv1.OperatorName]visit, len(operators)),
	}
	for i := range operators {
		search.inputs[operators[i].Name] = operators[i].Inputs
	}
	for i := range operators {
		if cycle := search.from(operators[i].Name); cycle != nil {
			return cycle
		}
	}
	return nil
}

type visit uint8

const (
	unvisited visit = iota
	onPath
	done
)

// cycleSearch walks the graph from readers to what they read.
type cycleSearch struct {
	inputs map[streamv1.OperatorName][]streamv1.OperatorName
	state  map[streamv1.OperatorName]visit
	path   []streamv1.OperatorName
}

func (s *cycleSearch) from(name streamv1.OperatorName) []string {
	switch s.state[name] {
	case done:
		return nil
	case onPath:
		return s.cycleAt(name)
	case unvisited:
	}
	s.state[name] = onPath
	s.path = append(s.path, name)
	for _, input := range s.inputs[name] {
		if cycle := s.from(input); cycle != nil {
			return cycle
		}
	}
	s.path = s.path[:len(s.path)-1]
	s.state[name] = done
	return nil
}

// cycleAt reads the cycle that closes at name off the path. The path runs from readers to inputs, so its end comes
// first in the direction of the rows.
func (s *cycleSearch) cycleAt(name streamv1.OperatorName) []string {
	cycle := []string{string(name)}
	for i := len(s.path) - 1; i >= 0 && s.path[i] != name; i-- {
		cycle = append(cycle, string(s.path[i]))
	}
	return append(cycle, string(name))
}

// operatorsOf returns the operators of a declarative job, none for a program.
func operatorsOf(job *streamv1.StreamJob) []streamv1.Operator {
	if job.Spec.Dataflow == nil {
		return nil
	}
	return job.Spec.Dataflow.Operators
}
