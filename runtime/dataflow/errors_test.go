// SPDX-License-Identifier: Apache-2.0

package dataflow

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-stream/weir/runtime/contract"
)

func filterOf(name, input, expression string) contract.Operator {
	return contract.Operator{Name: name, Inputs: []string{input}, Filter: &contract.Filter{Expression: expression}}
}

func logOf(name, input string) contract.Operator {
	return contract.Operator{Name: name, Inputs: []string{input}, Log: &contract.LogSink{}}
}

func mapOf(name, input string, columns ...string) contract.Operator {
	m := &contract.Map{}
	for i := 0; i < len(columns); i += 2 {
		m.Columns = append(m.Columns, contract.NamedExpression{Name: columns[i], Expression: columns[i+1]})
	}
	return contract.Operator{Name: name, Inputs: []string{input}, Map: m}
}

func TestBuild_Mistakes(t *testing.T) {
	src := textSource("src")
	forever := contract.Operator{Name: "forever", Generator: &contract.Generator{}}
	keyed := contract.Operator{Name: "keyed", Inputs: []string{"src"}, KeyBy: &contract.KeyBy{Columns: []string{"line"}}}
	sum := func(function contract.AggregateFunction, expression string) contract.Operator {
		return contract.Operator{Name: "agg", Inputs: []string{"keyed"}, Aggregate: &contract.Aggregate{
			Aggregates: []contract.AggregateColumn{{Name: "x", Function: function, Expression: expression}},
		}}
	}
	for name, tc := range map[string]struct {
		cfg  contract.JobConfig
		want []string
	}{
		"nothing": {job(), []string{`it has no operators: add a source and a sink`}},
		"no name": {job(src, logOf("", "src")), []string{`operator number 2 has no name: state is restored by name, so every operator needs one`, `it has no sink: add an operator with fileSink or log`}},
		"same name": {job(src, logOf("src", "src")), []string{
			`operator "src": the name "src" is also a name or previous name of operator "src": names are identities and must be unique`,
		}},
		"no kind": {job(src, logOf("log", "src"), contract.Operator{Name: "x", Inputs: []string{"src"}}), []string{
			`operator "x": it must have exactly one of files, generator, map, filter, flatMap, keyBy, aggregate, union, fileSink, log; it has none`,
		}},
		"two kinds": {job(src, contract.Operator{Name: "x", Inputs: []string{"src"}, Log: &contract.LogSink{}, Filter: &contract.Filter{Expression: "true"}}, logOf("log", "src")), []string{
			`operator "x": it must have exactly one of files, generator, map, filter, flatMap, keyBy, aggregate, union, fileSink, log; it has filter and log`,
		}},
		"inputs": {job(src, logOf("a", "nowhere"), logOf("b", "a"), contract.Operator{Name: "c", Log: &contract.LogSink{}}, logOf("d", "src")), []string{
			`operator "a": its input "nowhere" does not exist`, `operator "b": its input "a" is a sink, which emits no rows`,
			`operator "c": it needs an input: the name of the operator whose rows it reads`,
		}},
		"cycle": {job(src, contract.Operator{Name: "u", Inputs: []string{"src", "f"}, Union: &struct{}{}}, filterOf("f", "u", "true"), logOf("log", "f")), []string{
			`operator "f": it is part of a cycle: u > f > u`,
		}},
		"unread": {job(src, filterOf("f", "src", "true"), logOf("log", "src")), []string{
			`operator "f": no operator reads its rows: add one with it as input, a sink for example, or remove it`,
		}},
		"unknown column": {job(src, filterOf("f", "src", "lin == ''"), logOf("log", "f")), []string{
			`operator "f": expression "lin == ''": column 1: undeclared reference to 'lin' (the columns are: line String)`,
		}},
		"wrong type": {job(src, mapOf("m", "src", "a", "line + 1", "b", "size(line)", "c", "line.split(',')"), logOf("log", "m")), []string{
			`operator "m": column "a": expression "line + 1": column 6: found no matching overload for '_+_' applied to '(string, int)' ` +
				`(both sides must have one type: string(x) makes a text of a value, int(x) or double(x) a number of a text)`,
			`operator "m": column "c": expression "line.split(',')": it yields list(string), where an int, double, bool or string is needed`,
		}},
		"int and double": {job(src, mapOf("m", "src", "a", "size(line) * 1.5"), logOf("log", "m")), []string{
			`operator "m": column "a": expression "size(line) * 1.5": column 12: found no matching overload for '_*_' applied to '(int, double)' (both sides must have one type: double(x) makes a double of an int, int(x) an int of a double)`,
		}},
		"syntax": {job(src, filterOf("f", "src", "line =="), logOf("log", "f")), []string{
			`operator "f": expression "line ==": column 8: Syntax error: mismatched input '<EOF>' expecting`,
		}},
		"no filter": {job(src, filterOf("f", "src", "size(line)"), logOf("log", "f")), []string{
			`operator "f": expression "size(line)" yields Int, but a filter needs Bool`,
		}},
		"no list": {job(src, contract.Operator{Name: "f", Inputs: []string{"src"}, FlatMap: &contract.FlatMap{Expression: "line", As: "x"}}, logOf("log", "f")), []string{
			`operator "f": expression "line": it yields string, where a list of int, double, bool or string is needed`,
		}},
		"pattern": {job(src, filterOf("f", "src", "line.matches('(')"), logOf("log", "f")), []string{
			`operator "f": expression "line.matches('(')": the pattern "(" of matches() is no regular expression: error parsing regexp: missing closing )`,
		}},
		"key": {job(src, contract.Operator{Name: "keyed", Inputs: []string{"src"}, KeyBy: &contract.KeyBy{Columns: []string{"word"}}}, sum(contract.CountFunction, ""), logOf("log", "agg")), []string{
			`operator "keyed": columns: its input has no column "word" (the columns are: line String)`,
		}},
		"not keyed": {job(src, contract.Operator{Name: "agg", Inputs: []string{"src"}, Aggregate: &contract.Aggregate{
			Aggregates: []contract.AggregateColumn{{Name: "n", Function: contract.CountFunction}},
		}}, logOf("log", "agg")), []string{`operator "agg": its input "src" must be a keyBy, which says for which key to aggregate`}},
		"sum of text": {job(src, keyed, sum(contract.SumFunction, "line"), logOf("log", "agg")), []string{
			`operator "agg": aggregate "x": function Sum needs an Int or Float, not the String that "line" yields`,
		}},
		"virtual": {job(src, contract.Operator{Name: "keyed", Parallelism: 3, Inputs: []string{"src"}, KeyBy: &contract.KeyBy{Columns: []string{"line"}}}, logOf("log", "keyed")), []string{
			`operator "keyed": a keyBy has no parallel instances: set the parallelism of the operator after it`,
		}},
		"union": {job(src, forever, contract.Operator{Name: "u", Inputs: []string{"src", "forever"}, Union: &struct{}{}}, logOf("log", "u")), []string{
			`operator "u": its inputs have different columns: "src" has (line String), "forever" has (key Int, seq Int); make them equal with a map`,
		}},
		"never ends": {job(forever, out("out", "forever")), []string{
			`operator "out": without checkpointing a fileSink commits at the end of the input, but source "forever" never ends: set checkpointing, or make the source bounded`,
		}},
		"connector": {job(contract.Operator{Name: "src", Files: &contract.FilesSource{}}, logOf("log", "src")), []string{`operator "src": path is missing`}},
		"columns": {job(src, mapOf("m", "src", "a b", "1", "c", "2", "c", "3"), logOf("log", "m")), []string{
			`operator "m": column name "a b" must be letters, digits and '_', and not begin with a digit`, `operator "m": column "c" is there twice`,
		}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Build(tc.cfg, &fakeFiles{})
			if err == nil {
				t.Fatal("no mistake was found")
			}
			got := strings.Split(strings.TrimPrefix(err.Error(), "building the dataflow: "), "\n")
			for i := range got {
				if i < len(tc.want) && strings.HasPrefix(got[i], tc.want[i]) {
					got[i] = tc.want[i]
				}
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("mistakes (-want +got):\n%s", diff)
			}
		})
	}
}
