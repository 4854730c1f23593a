// SPDX-License-Identifier: Apache-2.0

package jobconfig

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The parts of a StreamJob that most cases leave as they are.
const (
	head = "apiVersion: stream.weir.dev/v1alpha1\nkind: StreamJob\nmetadata: {name: j}\n"
	flow = "dataflow: {operators: [{name: in, generator: {rows: 1}}, {name: out, inputs: [in], log: {}}]}"
)

// withSpec returns a StreamJob with fields of its spec, one a line, beside a small dataflow.
func withSpec(fields ...string) string {
	return head + "spec:\n  " + strings.Join(append(fields, flow), "\n  ") + "\n"
}

// withOperators returns a StreamJob with the given operators and nothing else.
func withOperators(operators ...string) string {
	return head + "spec: {dataflow: {operators: [\n  " + strings.Join(operators, ",\n  ") + "\n]}}\n"
}

// Operators that cases put together.
const (
	opIn  = "{name: in, generator: {rows: 1}}"
	opOut = "{name: out, inputs: [in], log: {}}"
	opKey = "{name: k, inputs: [in], keyBy: {columns: [key]}}"
	opAgg = "{name: a, inputs: [k], aggregate: {aggregates: [{name: total, function: Count}]}}"
	opEnd = "{name: out, inputs: [a], log: {}}"
)

// ruleCase shows a rule of the API at work: StreamJobs that it accepts and one that it refuses.
type ruleCase struct {
	accept []string
	reject string
	// want are all messages of the refusal.
	want []string
}

func specRules() map[string]ruleCase {
	return map[string]ruleCase{
		"name of the job": {
			accept: []string{withSpec()},
			reject: strings.Replace(withSpec(), "name: j}", "name: my.job}", 1),
			want: []string{`Invalid value: metadata.name must start with a lower case letter, ` +
				`contain only lower case letters, digits and '-', end with a letter or digit, and have at most 40 characters`},
		},
		"parallelism within maxParallelism": {
			accept: []string{withSpec("parallelism: 4", "maxParallelism: 4"), withSpec("parallelism: 4")},
			reject: withSpec("parallelism: 5", "maxParallelism: 4"),
			want:   []string{`spec.parallelism: Invalid value: parallelism must not be larger than maxParallelism`},
		},
		"parallelism of an operator within maxParallelism": {
			accept: []string{head + "spec: {maxParallelism: 4, dataflow: {operators: [{name: in, parallelism: 4, generator: {}}, " + opOut + "]}}"},
			reject: head + "spec: {maxParallelism: 4, dataflow: {operators: [{name: in, parallelism: 5, generator: {rows: 1}}, " + opOut + "]}}",
			want:   []string{`spec.dataflow.operators: Invalid value: parallelism of an operator must not be larger than maxParallelism of the job`},
		},
		"slots for every instance": {
			accept: []string{
				withSpec("parallelism: 6", "workers: {replicas: 3, slotsPerWorker: 2}"),
				withSpec("parallelism: 6", "workers: {replicas: 2}"),
				withSpec("workers: {replicas: 1, slotsPerWorker: 1}"),
			},
			reject: withSpec("parallelism: 7", "workers: {replicas: 3, slotsPerWorker: 2}"),
			want: []string{`spec.workers: Invalid value: replicas times slotsPerWorker must be at least the largest parallelism of the job: ` +
				`raise one of them, lower the parallelism, or leave slotsPerWorker out`},
		},
		"fileSink without checkpoints": {
			accept: []string{
				withOperators(opIn, "{name: out, inputs: [in], fileSink: {path: /o}}"),
				withOperators("{name: in, files: {path: /i, format: Text}}", "{name: out, inputs: [in], fileSink: {path: /o}}"),
				head + "spec: {checkpointing: {interval: 1s}, dataflow: {operators: [{name: in, generator: {keys: 1}}, {name: out, inputs: [in], fileSink: {path: /o}}]}}",
			},
			reject: withOperators("{name: in, files: {path: /i, format: Text, continuous: {pollInterval: 1s}}}", "{name: out, inputs: [in], fileSink: {path: /o}}"),
			want: []string{`spec.checkpointing: Invalid value: a fileSink of an unbounded job needs checkpointing, because its files become visible when ` +
				`a checkpoint completes: set checkpointing.interval, or make every source bounded (generator.rows set, files.continuous absent)`},
		},
		"object store of an s3 path": {
			accept: []string{
				withOperators(opIn, "{name: out, inputs: [in], fileSink: {path: 's3://bkt/x', s3: {endpoint: 'http://h:1'}}}"),
				head + "spec: {storage: {s3: {bucket: bkt}}, dataflow: {operators: [" + opIn + ", {name: out, inputs: [in], fileSink: {path: 's3://bkt'}}]}}",
			},
			reject: withOperators(opIn, "{name: out, inputs: [in], fileSink: {path: 's3://bkt/x'}}"),
			want:   []string{`spec.dataflow.operators: Invalid value: an s3:// path needs to know the object store: set s3 beside it, or storage.s3 of the job`},
		},
		"interval": {
			accept: []string{withSpec("checkpointing: {interval: 10ms}"), withSpec("checkpointing: {interval: 1m30s}")},
			reject: withSpec("checkpointing: {interval: 9ms}"),
			want:   []string{`spec.checkpointing.interval: Invalid value: interval must be at least 10ms`},
		},
		"timeout": {
			accept: []string{withSpec("checkpointing: {interval: 1s, timeout: 10ms}")},
			reject: withSpec("checkpointing: {interval: 1s, timeout: 0s}"),
			want:   []string{`spec.checkpointing.timeout: Invalid value: timeout must be at least 10ms`},
		},
		"minPause and maxConcurrent": {
			accept: []string{
				withSpec("checkpointing: {interval: 1s, minPause: 1s}"),
				withSpec("checkpointing: {interval: 1s, minPause: 1s, maxConcurrent: 1}"),
				withSpec("checkpointing: {interval: 1s, minPause: 0s, maxConcurrent: 2}"),
			},
			reject: withSpec("checkpointing: {interval: 1s, minPause: 1s, maxConcurrent: 2}"),
			want:   []string{`spec.checkpointing.maxConcurrent: Invalid value: maxConcurrent must be 1 when minPause is larger than 0s`},
		},
		"one kind of storage": {
			accept: []string{withSpec("storage: {s3: {bucket: bkt}}"), withSpec("storage: {volume: {path: /p}, savepoints: {prefix: sp}}")},
			reject: withSpec("storage: {s3: {bucket: bkt}, volume: {path: /p}}"),
			want:   []string{`spec.storage: Invalid value: exactly one of the fields in [s3 volume] must be set`},
		},
		"one restart strategy": {
			accept: []string{
				withSpec("restart: {none: {}}"), withSpec("restart: {fixedDelay: {attempts: 3, delay: 1s}}"),
				withSpec("restart: {failureRate: {maxFailures: 1, interval: 1m, delay: 1s}}"), withSpec("restart: {exponentialDelay: {}}"),
			},
			reject: withSpec("restart: {none: {}, fixedDelay: {attempts: 3}}"),
			want:   []string{`spec.restart: Invalid value: exactly one of the fields in [none fixedDelay failureRate exponentialDelay] must be set`},
		},
		"delay of fixedDelay": {
			accept: []string{withSpec("restart: {fixedDelay: {delay: 1ms}}")},
			reject: withSpec("restart: {fixedDelay: {delay: 0s}}"),
			want:   []string{`spec.restart.fixedDelay.delay: Invalid value: delay must be larger than 0s`},
		},
		"delay of failureRate": {
			accept: []string{withSpec("restart: {failureRate: {delay: 1ms}}")},
			reject: withSpec("restart: {failureRate: {delay: 0s}}"),
			want:   []string{`spec.restart.failureRate.delay: Invalid value: delay must be larger than 0s`},
		},
		"interval of failureRate": {
			accept: []string{withSpec("restart: {failureRate: {interval: 1ms}}")},
			reject: withSpec("restart: {failureRate: {interval: 0s}}"),
			want:   []string{`spec.restart.failureRate.interval: Invalid value: interval must be larger than 0s`},
		},
		"initialDelay": {
			accept: []string{withSpec("restart: {exponentialDelay: {initialDelay: 1ms}}")},
			reject: withSpec("restart: {exponentialDelay: {initialDelay: 0s}}"),
			want:   []string{`spec.restart.exponentialDelay.initialDelay: Invalid value: initialDelay must be larger than 0s`},
		},
		"maxDelay": {
			accept: []string{withSpec("restart: {exponentialDelay: {initialDelay: 1m}}"), withSpec("restart: {exponentialDelay: {maxDelay: 1s}}")},
			reject: withSpec("restart: {exponentialDelay: {initialDelay: 2s, maxDelay: 1s}}"),
			want:   []string{`spec.restart.exponentialDelay.maxDelay: Invalid value: maxDelay (1m when unset) must not be smaller than initialDelay (1s when unset)`},
		},
		"multiplier": {
			accept: []string{withSpec("restart: {exponentialDelay: {multiplier: '1.0'}}"), withSpec("restart: {exponentialDelay: {multiplier: '2'}}")},
			reject: withSpec("restart: {exponentialDelay: {multiplier: '0.9'}}"),
			want:   []string{`spec.restart.exponentialDelay.multiplier: Invalid value: multiplier must be at least 1`},
		},
		"jitter": {
			accept: []string{withSpec("restart: {exponentialDelay: {jitter: '0'}}"), withSpec("restart: {exponentialDelay: {jitter: '1'}}")},
			reject: withSpec("restart: {exponentialDelay: {jitter: '1.1'}}"),
			want:   []string{`spec.restart.exponentialDelay.jitter: Invalid value: jitter must be between 0 and 1`},
		},
		"resetAfter": {
			accept: []string{withSpec("restart: {exponentialDelay: {resetAfter: 1h}}")},
			reject: withSpec("restart: {exponentialDelay: {resetAfter: 0s}}"),
			want:   []string{`spec.restart.exponentialDelay.resetAfter: Invalid value: resetAfter must be larger than 0s`},
		},
		"location": {
			accept: []string{withSpec("restoreFrom: {path: 's3://bkt/a/_metadata'}"), withSpec("restoreFrom: {path: /a/b}"), withSpec("restoreFrom: {path: s3-like/dir}")},
			reject: withSpec("restoreFrom: {path: 's3:/bkt/a'}"),
			want:   []string{`spec.restoreFrom.path: Invalid value: "s3:/bkt/a": a path in an object store must be s3://bucket or s3://bucket/prefix, with the name of a bucket in lower case`},
		},
	}
}

func graphRules() map[string]ruleCase {
	return map[string]ruleCase{
		"inputs exist": {
			accept: []string{withOperators(opIn, opKey, opAgg, opEnd)},
			reject: withOperators(opIn, opOut, "{name: log, inputs: [inn], log: {}}"),
			want:   []string{`spec.dataflow.operators: Invalid value: every input must be the name of an operator of the dataflow`},
		},
		"a sink is no input": {
			accept: []string{withOperators(opIn, opOut)},
			reject: withOperators(opIn, opOut, "{name: log, inputs: [out], log: {}}"),
			want:   []string{`spec.dataflow.operators: Invalid value: a sink must not be the input of an operator`},
		},
		"an aggregate reads a keyBy": {
			accept: []string{withOperators(opIn, opKey, opAgg, opEnd)},
			reject: withOperators(opIn, "{name: a, inputs: [in], aggregate: {aggregates: [{name: total, function: Count}]}}", opEnd),
			want:   []string{`spec.dataflow.operators: Invalid value: the input of an aggregate must be a keyBy`},
		},
		"all rows are read": {
			accept: []string{withOperators(opIn, opOut, "{name: log, inputs: [in], log: {}}")},
			reject: withOperators(opIn, opOut, "{name: more, generator: {rows: 1}}"),
			want:   []string{`spec.dataflow.operators: Invalid value: the rows of every source and step must be read by another operator`},
		},
		"previous names of one operator": {
			accept: []string{withOperators("{name: in, previousNames: [a, b], generator: {rows: 1}}", "{name: out, previousNames: [c], inputs: [in], log: {}}")},
			reject: withOperators("{name: in, previousNames: [a, b], generator: {rows: 1}}", "{name: out, previousNames: [b], inputs: [in], log: {}}"),
			want:   []string{`spec.dataflow.operators: Invalid value: a previous name must not be the name or a previous name of another operator`},
		},
		"a source": {
			accept: []string{withOperators(opIn, opOut)},
			reject: withOperators("{name: u, inputs: [u], filter: {expression: 'true'}}", "{name: out, inputs: [u], log: {}}"),
			want: []string{
				`spec.dataflow.operators: Invalid value: a dataflow needs at least one source (files or generator)`,
				`spec.dataflow.operators[0].inputs: Invalid value: an operator must not be its own input`,
			},
		},
		"a sink": {
			accept: []string{withOperators(opIn, opOut)},
			reject: withOperators(opIn, "{name: u, inputs: [u], filter: {expression: 'true'}}", "{name: v, inputs: [in], filter: {expression: 'true'}}"),
			want: []string{
				`spec.dataflow.operators: Invalid value: the rows of every source and step must be read by another operator`,
				`spec.dataflow.operators: Invalid value: a dataflow needs at least one sink (fileSink or log)`,
				`spec.dataflow.operators[1].inputs: Invalid value: an operator must not be its own input`,
			},
		},
	}
}

func operatorRules() map[string]ruleCase {
	return map[string]ruleCase{
		"one kind": {
			accept: []string{withOperators(opIn, opOut)},
			reject: withOperators("{name: in, generator: {rows: 1}, files: {path: /p, format: Text}}", opOut),
			want:   []string{`spec.dataflow.operators[0]: Invalid value: exactly one of the fields in [files generator map filter flatMap keyBy aggregate union fileSink log] must be set`},
		},
		"a source has no inputs": {
			accept: []string{withOperators(opIn, opOut)},
			reject: withOperators(opIn, "{name: more, inputs: [in], generator: {rows: 1}}", "{name: out, inputs: [more], log: {}}"),
			want:   []string{`spec.dataflow.operators[1].inputs: Invalid value: a source (files, generator) has no inputs`},
		},
		"a step has inputs": {
			accept: []string{withOperators(opIn, opOut)},
			reject: withOperators(opIn, opOut, "{name: log, log: {}}"),
			want:   []string{`spec.dataflow.operators[2].inputs: Invalid value: a step or sink needs inputs: the name of the operator whose rows it reads`},
		},
		"only a union has several inputs": {
			accept: []string{withOperators(opIn, "{name: in2, generator: {rows: 1}}", "{name: u, inputs: [in, in2], union: {}}", "{name: out, inputs: [u], log: {}}")},
			reject: withOperators(opIn, "{name: in2, generator: {rows: 1}}", "{name: out, inputs: [in, in2], log: {}}"),
			want:   []string{`spec.dataflow.operators[2].inputs: Invalid value: only a union has more than one input: put a union before this operator`},
		},
		"a union has two inputs": {
			accept: []string{withOperators(opIn, "{name: in2, generator: {rows: 1}}", "{name: u, inputs: [in, in2], union: {}}", "{name: out, inputs: [u], log: {}}")},
			reject: withOperators(opIn, "{name: u, inputs: [in], union: {}}", "{name: out, inputs: [u], log: {}}"),
			want:   []string{`spec.dataflow.operators[1].inputs: Invalid value: a union needs at least two inputs`},
		},
		"previous names differ from the present": {
			accept: []string{withOperators("{name: in, previousNames: [was], generator: {rows: 1}}", opOut)},
			reject: withOperators("{name: in, previousNames: [in], generator: {rows: 1}}", opOut),
			want:   []string{`spec.dataflow.operators[0].previousNames: Invalid value: previousNames must not hold the present name`},
		},
		"JSON needs a schema": {
			accept: []string{withOperators("{name: in, files: {path: /p, format: JSON, schema: [{name: a, type: Int}]}}", opOut)},
			reject: withOperators("{name: in, files: {path: /p, format: JSON}}", opOut),
			want:   []string{`spec.dataflow.operators[0].files.schema: Invalid value: schema is required when format is JSON`},
		},
		"Text has no schema": {
			accept: []string{withOperators("{name: in, files: {path: /p, format: Text}}", opOut)},
			reject: withOperators("{name: in, files: {path: /p, format: Text, schema: [{name: a, type: Int}]}}", opOut),
			want:   []string{`spec.dataflow.operators[0].files.schema: Invalid value: schema must be left out when format is Text: such rows have the one column 'line' of type String`},
		},
		"DeadLetter needs a path": {
			accept: []string{withOperators("{name: in, files: {path: /p, format: Text, onMalformed: DeadLetter, deadLetter: {path: /d}}}", opOut)},
			reject: withOperators("{name: in, files: {path: /p, format: Text, onMalformed: DeadLetter}}", opOut),
			want:   []string{`spec.dataflow.operators[0].files.deadLetter: Invalid value: deadLetter is required when onMalformed is DeadLetter`},
		},
		"only DeadLetter has a path": {
			accept: []string{withOperators("{name: in, files: {path: /p, format: Text, onMalformed: Skip}}", opOut)},
			reject: withOperators("{name: in, files: {path: /p, format: Text, onMalformed: Skip, deadLetter: {path: /d}}}", opOut),
			want:   []string{`spec.dataflow.operators[0].files.deadLetter: Invalid value: deadLetter must be left out unless onMalformed is DeadLetter`},
		},
		"s3 of files": {
			accept: []string{withOperators("{name: in, files: {path: 's3://bkt/p', format: Text, s3: {region: eu-west-1}}}", opOut)},
			reject: withOperators("{name: in, files: {path: /p, format: Text, s3: {region: eu-west-1}}}", opOut),
			want:   []string{`spec.dataflow.operators[0].files.s3: Invalid value: s3 must be left out unless path or deadLetter.path starts with s3://`},
		},
		"s3 of fileSink": {
			accept: []string{withOperators(opIn, "{name: out, inputs: [in], fileSink: {path: 's3://bkt/p', format: JSON, s3: {region: eu-west-1}}}")},
			reject: withOperators(opIn, "{name: out, inputs: [in], fileSink: {path: /p, s3: {region: eu-west-1}}}"),
			want:   []string{`spec.dataflow.operators[1].fileSink.s3: Invalid value: s3 must be left out unless path starts with s3://`},
		},
		"pollInterval": {
			accept: []string{withOperators("{name: in, files: {path: /p, format: Text, continuous: {pollInterval: 100ms}}}", opOut), withOperators("{name: in, files: {path: /p, format: Text, continuous: {}}}", opOut)},
			reject: withOperators("{name: in, files: {path: /p, format: Text, continuous: {pollInterval: 99ms}}}", opOut),
			want:   []string{`spec.dataflow.operators[0].files.continuous.pollInterval: Invalid value: pollInterval must be at least 100ms`},
		},
		"as is not kept": {
			accept: []string{withOperators(opIn, "{name: f, inputs: [in], flatMap: {expression: '[key]', as: x, keep: [key]}}", "{name: out, inputs: [f], log: {}}")},
			reject: withOperators(opIn, "{name: f, inputs: [in], flatMap: {expression: '[key]', as: key, keep: [key]}}", "{name: out, inputs: [f], log: {}}"),
			want:   []string{`spec.dataflow.operators[1].flatMap.as: Invalid value: as must not be one of the columns of keep`},
		},
		"Count has no expression": {
			accept: []string{withOperators(opIn, opKey, opAgg, opEnd)},
			reject: withOperators(opIn, opKey, "{name: a, inputs: [k], aggregate: {aggregates: [{name: total, function: Count, expression: seq}]}}", opEnd),
			want:   []string{`spec.dataflow.operators[2].aggregate.aggregates[0].expression: Invalid value: expression must be left out when function is Count, which counts rows`},
		},
		"Sum has an expression": {
			accept: []string{withOperators(opIn, opKey, "{name: a, inputs: [k], aggregate: {aggregates: [{name: total, function: Sum, expression: seq}]}}", opEnd)},
			reject: withOperators(opIn, opKey, "{name: a, inputs: [k], aggregate: {aggregates: [{name: total, function: Sum}]}}", opEnd),
			want:   []string{`spec.dataflow.operators[2].aggregate.aggregates[0].expression: Invalid value: expression is required unless function is Count`},
		},
	}
}

func TestValidate_Rules(t *testing.T) {
	t.Parallel()
	for group, cases := range map[string]map[string]ruleCase{"spec": specRules(), "graph": graphRules(), "operator": operatorRules()} {
		for name, tc := range cases {
			t.Run(group+"/"+name, func(t *testing.T) {
				t.Parallel()
				for _, accepted := range tc.accept {
					if _, err := Validate(t.Context(), []byte(accepted)); err != nil {
						t.Errorf("refused:\n%s\n%v", accepted, err)
					}
				}
				if diff := cmp.Diff(tc.want, problemsOf(t, tc.reject)); diff != "" {
					t.Errorf("problems of\n%s\n(-want +got):\n%s", tc.reject, diff)
				}
			})
		}
	}
}

// problemsOf returns the problems for which a file is refused; it must be refused.
func problemsOf(t *testing.T, file string) []string {
	t.Helper()
	_, err := Validate(t.Context(), []byte(file))
	invalid, ok := errors.AsType[*InvalidError](err)
	if !ok {
		t.Fatalf("Validate returned %v, want an InvalidError for\n%s", err, file)
	}
	return invalid.Problems
}

// TestValidate_EveryRuleHasACase fails when a rule is added to the API without an accepted and a rejected case.
func TestValidate_EveryRuleHasACase(t *testing.T) {
	t.Parallel()
	s, err := streamJobs()
	if err != nil {
		t.Fatal(err)
	}
	shown := []string{}
	for _, cases := range []map[string]ruleCase{specRules(), graphRules(), operatorRules()} {
		for name, tc := range cases {
			if len(tc.accept) == 0 {
				t.Errorf("case %q accepts nothing", name)
			}
			shown = append(shown, tc.want...)
		}
	}
	for _, rule := range rulesOf(s.structural) {
		if !slices.ContainsFunc(shown, func(problem string) bool { return strings.HasSuffix(problem, ": "+rule.Message) }) {
			t.Errorf("no rejected case for the rule %q", rule.Message)
		}
	}
}
