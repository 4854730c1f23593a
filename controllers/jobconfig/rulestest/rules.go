// SPDX-License-Identifier: Apache-2.0

package rulestest

import (
	"maps"
	"strings"
)

// Case shows a rule of the API at work: StreamJobs that it accepts and one that it refuses, each as YAML.
type Case struct {
	// Accept are accepted; there is at least one.
	Accept []string
	// Reject is refused.
	Reject string
	// Want are all messages of the refusal, each with the path of its field where there is one.
	Want []string
}

// Cases returns every case by its name.
func Cases() map[string]Case {
	all := map[string]Case{}
	for group, cases := range map[string]map[string]Case{
		"spec": specRules(), "life cycle": lifeCycleRules(), "restart": restartRules(), "graph": graphRules(), "operator": operatorRules(),
		"pods": podRules(), "snapshots": snapshotRules(),
	} {
		for name, tc := range maps.All(cases) {
			all[group+"/"+name] = tc
		}
	}
	return all
}

const (
	// Head is a StreamJob without a spec.
	Head = "apiVersion: stream.weir.dev/v1alpha1\nkind: StreamJob\nmetadata: {name: j}\n"
	// Flow is a small dataflow, the field of a spec.
	Flow = "dataflow: {operators: [{name: in, generator: {rows: 1}}, {name: out, inputs: [in], log: {}}]}"
)

// WithSpec returns a StreamJob with fields of its spec, one a line, beside a small dataflow.
func WithSpec(fields ...string) string {
	return Head + "spec:\n  " + strings.Join(append(fields, Flow), "\n  ") + "\n"
}

// WithOperators returns a StreamJob with the given operators and nothing else.
func WithOperators(operators ...string) string {
	return Head + "spec: {dataflow: {operators: [\n  " + strings.Join(operators, ",\n  ") + "\n]}}\n"
}

// Operators that cases put together: a source, a sink that reads it, a keyBy that reads it, an aggregate that reads that, and a
// sink that reads the aggregate.
const (
	In  = "{name: in, generator: {rows: 1}}"
	Out = "{name: out, inputs: [in], log: {}}"
	Key = "{name: k, inputs: [in], keyBy: {columns: [key]}}"
	Agg = "{name: a, inputs: [k], aggregate: {aggregates: [{name: total, function: Count}]}}"
	End = "{name: out, inputs: [a], log: {}}"
)

func specRules() map[string]Case {
	return map[string]Case{
		"name of the job": {
			Accept: []string{WithSpec()},
			Reject: strings.Replace(WithSpec(), "name: j}", "name: my.job}", 1),
			Want: []string{`Invalid value: metadata.name must start with a lower case letter, ` +
				`contain only lower case letters, digits and '-', end with a letter or digit, and have at most 40 characters`},
		},
		"parallelism within maxParallelism": {
			Accept: []string{WithSpec("parallelism: 4", "maxParallelism: 4"), WithSpec("parallelism: 4")},
			Reject: WithSpec("parallelism: 5", "maxParallelism: 4"),
			Want:   []string{`spec.parallelism: Invalid value: parallelism must not be larger than maxParallelism`},
		},
		"parallelism of an operator within maxParallelism": {
			Accept: []string{Head + "spec: {maxParallelism: 4, dataflow: {operators: [{name: in, parallelism: 4, generator: {}}, " + Out + "]}}"},
			Reject: Head + "spec: {maxParallelism: 4, dataflow: {operators: [{name: in, parallelism: 5, generator: {rows: 1}}, " + Out + "]}}",
			Want:   []string{`spec.dataflow.operators: Invalid value: parallelism of an operator must not be larger than maxParallelism of the job`},
		},
		"slots for every instance": {
			Accept: []string{
				WithSpec("parallelism: 6", "workers: {replicas: 3, slotsPerWorker: 2}"),
				WithSpec("parallelism: 6", "workers: {replicas: 2}"),
				WithSpec("workers: {replicas: 1, slotsPerWorker: 1}"),
			},
			Reject: WithSpec("parallelism: 7", "workers: {replicas: 3, slotsPerWorker: 2}"),
			Want: []string{`spec.workers: Invalid value: replicas times slotsPerWorker must be at least the largest parallelism of the job: ` +
				`raise one of them, lower the parallelism, or leave slotsPerWorker out`},
		},
		"fileSink without checkpoints": {
			Accept: []string{
				WithOperators(In, "{name: out, inputs: [in], fileSink: {path: /o}}"),
				WithOperators("{name: in, files: {path: /i, format: Text}}", "{name: out, inputs: [in], fileSink: {path: /o}}"),
				Head + "spec: {checkpointing: {interval: 1s}, dataflow: {operators: [{name: in, generator: {keys: 1}}, {name: out, inputs: [in], fileSink: {path: /o}}]}}",
			},
			Reject: WithOperators("{name: in, files: {path: /i, format: Text, continuous: {pollInterval: 1s}}}", "{name: out, inputs: [in], fileSink: {path: /o}}"),
			Want: []string{`spec.checkpointing: Invalid value: a fileSink of an unbounded job needs checkpointing, because its files become visible when ` +
				`a checkpoint completes: set checkpointing.interval, or make every source bounded (generator.rows set, files.continuous absent)`},
		},
		"object store of an s3 path": {
			Accept: []string{
				WithOperators(In, "{name: out, inputs: [in], fileSink: {path: 's3://bkt/x', s3: {endpoint: 'http://h:1'}}}"),
				Head + "spec: {storage: {s3: {bucket: bkt}}, dataflow: {operators: [" + In + ", {name: out, inputs: [in], fileSink: {path: 's3://bkt'}}]}}",
			},
			Reject: WithOperators(In, "{name: out, inputs: [in], fileSink: {path: 's3://bkt/x'}}"),
			Want:   []string{`spec.dataflow.operators: Invalid value: an s3:// path needs to know the object store: set s3 beside it, or storage.s3 of the job`},
		},
		"interval": {
			Accept: []string{WithSpec("checkpointing: {interval: 10ms}"), WithSpec("checkpointing: {interval: 1m30s}")},
			Reject: WithSpec("checkpointing: {interval: 9ms}"),
			Want:   []string{`spec.checkpointing.interval: Invalid value: interval must be at least 10ms`},
		},
		"timeout": {
			Accept: []string{WithSpec("checkpointing: {interval: 1s, timeout: 10ms}")},
			Reject: WithSpec("checkpointing: {interval: 1s, timeout: 0s}"),
			Want:   []string{`spec.checkpointing.timeout: Invalid value: timeout must be at least 10ms`},
		},
		"minPause and maxConcurrent": {
			Accept: []string{
				WithSpec("checkpointing: {interval: 1s, minPause: 1s}"),
				WithSpec("checkpointing: {interval: 1s, minPause: 1s, maxConcurrent: 1}"),
				WithSpec("checkpointing: {interval: 1s, minPause: 0s, maxConcurrent: 2}"),
			},
			Reject: WithSpec("checkpointing: {interval: 1s, minPause: 1s, maxConcurrent: 2}"),
			Want:   []string{`spec.checkpointing.maxConcurrent: Invalid value: maxConcurrent must be 1 when minPause is larger than 0s`},
		},
		"unaligned and exactly once": {
			Accept: []string{
				WithSpec("checkpointing: {interval: 1s, alignment: {mode: Unaligned}}"),
				WithSpec("checkpointing: {interval: 1s, mode: AtLeastOnce, alignment: {mode: Aligned}}"),
			},
			Reject: WithSpec("checkpointing: {interval: 1s, mode: AtLeastOnce, alignment: {mode: Unaligned}}"),
			Want: []string{`spec.checkpointing.alignment.mode: Invalid value: an unaligned mode needs checkpointing.mode ExactlyOnce: ` +
				`AtLeastOnce does not align at all`},
		},
		"unaligned and maxConcurrent": {
			Accept: []string{WithSpec("checkpointing: {interval: 1s, maxConcurrent: 1, alignment: {mode: AlignedThenUnaligned}}")},
			Reject: WithSpec("checkpointing: {interval: 1s, maxConcurrent: 2, alignment: {mode: AlignedThenUnaligned}}"),
			Want:   []string{`spec.checkpointing.maxConcurrent: Invalid value: maxConcurrent must be 1 when alignment.mode is not Aligned`},
		},
		"alignment timeout": {
			Accept: []string{WithSpec("checkpointing: {interval: 1s, alignment: {mode: AlignedThenUnaligned, timeout: 100ms}}")},
			Reject: WithSpec("checkpointing: {interval: 1s, alignment: {mode: Unaligned, timeout: 1s}}"),
			Want:   []string{`spec.checkpointing.alignment.timeout: Invalid value: timeout is only for mode AlignedThenUnaligned`},
		},
		"positive alignment timeout": {
			Accept: []string{WithSpec("checkpointing: {interval: 1s, alignment: {mode: AlignedThenUnaligned, timeout: 1ms}}")},
			Reject: WithSpec("checkpointing: {interval: 1s, alignment: {mode: AlignedThenUnaligned, timeout: 0s}}"),
			Want:   []string{`spec.checkpointing.alignment.timeout: Invalid value: timeout must be at least 1ms`},
		},
		"something to fall back to": {
			Accept: []string{
				WithSpec("checkpointing: {interval: 1s, retention: {count: 2}, onCorruption: FallBack}"),
				WithSpec("checkpointing: {interval: 1s, onCorruption: Fail}"),
			},
			Reject: WithSpec("checkpointing: {interval: 1s, onCorruption: FallBack}"),
			Want:   []string{`spec.checkpointing.onCorruption: Invalid value: FallBack needs an older checkpoint to fall back to: set retention.count to 2 or more`},
		},
		"memory budget": {
			Accept: []string{WithSpec("stateBackend: {memoryBudget: 2Gi, incremental: true, type: Memory}"), WithSpec("stateBackend: {memoryBudget: 1000000}")},
			Reject: WithSpec("stateBackend: {memoryBudget: '0'}"),
			Want:   []string{`spec.stateBackend.memoryBudget: Invalid value: memoryBudget must be larger than 0`},
		},
		"one kind of storage": {
			Accept: []string{WithSpec("storage: {s3: {bucket: bkt}}"), WithSpec("storage: {volume: {path: /p}, savepoints: {prefix: sp}}")},
			Reject: WithSpec("storage: {s3: {bucket: bkt}, volume: {path: /p}}"),
			Want:   []string{`spec.storage: Invalid value: exactly one of the fields in [s3 volume] must be set`},
		},
		"location": {
			Accept: []string{WithSpec("restoreFrom: {path: 's3://bkt/a/_metadata'}"), WithSpec("restoreFrom: {path: /a/b}"), WithSpec("restoreFrom: {path: s3-like/dir}")},
			Reject: WithSpec("restoreFrom: {path: 's3:/bkt/a'}"),
			Want:   []string{`spec.restoreFrom.path: Invalid value: "s3:/bkt/a": a path in an object store must be s3://bucket or s3://bucket/prefix, with the name of a bucket in lower case`},
		},
	}
}

func lifeCycleRules() map[string]Case {
	const image = "program: {image: 'example.com/job:1'}"
	return map[string]Case{
		"dataflow or program": {
			Accept: []string{WithSpec(), Head + "spec: {program: {image: 'example.com/job:1', imagePullPolicy: Never, args: [--from, x]}}"},
			Reject: WithSpec(image),
			Want:   []string{`spec: Invalid value: exactly one of the fields in [dataflow program] must be set`},
		},
		"Stateless with storage needs consent": {
			Accept: []string{
				WithSpec("upgrade: {mode: Stateless}"),
				WithSpec("storage: {s3: {bucket: bkt}}", "upgrade: {mode: LastCheckpoint}"),
				WithSpec("storage: {s3: {bucket: bkt}}", "upgrade: {allowNonRestoredState: true}"),
				WithSpec("storage: {s3: {bucket: bkt}}", "upgrade: {mode: Stateless, discardState: a}"),
			},
			Reject: WithSpec("storage: {volume: {path: /p}}", "upgrade: {mode: Stateless}"),
			Want: []string{`spec.upgrade.mode: Invalid value: mode Stateless of a job with storage needs upgrade.discardState, ` +
				`which consents to one start without the state: set it to a new value, or use Savepoint or LastCheckpoint`},
		},
		"target that leaves the storage": {
			Accept: []string{WithSpec("storage: {s3: {bucket: bkt}}", "savepoint: {trigger: a, target: a/..b/c.}")},
			Reject: WithSpec("storage: {s3: {bucket: bkt}}", "savepoint: {trigger: a, target: a/../../b}"),
			Want:   []string{`spec.savepoint.target: Invalid value: "a/../../b": use a relative path of non-empty parts, without parts . and .., backslashes and control characters`},
		},
		"savepointTimeout": {
			Accept: []string{WithSpec("upgrade: {savepointTimeout: 1s}")},
			Reject: WithSpec("upgrade: {savepointTimeout: 999ms}"),
			Want:   []string{`spec.upgrade.savepointTimeout: Invalid value: "999ms": savepointTimeout must be at least 1s`},
		},
		"startDeadline": {
			Accept: []string{
				WithSpec("upgrade: {rollback: {startDeadline: 1s}}"),
				WithSpec("upgrade: {rollback: {mode: Automatic, stableCheckpoints: 1, maxRestarts: 0}}"),
			},
			Reject: WithSpec("upgrade: {rollback: {startDeadline: 1ms}}"),
			Want:   []string{`spec.upgrade.rollback.startDeadline: Invalid value: "1ms": startDeadline must be at least 1s`},
		},
		"deletion deadline": {
			Accept: []string{WithSpec("deletion: {deadline: 1s, force: true}"), WithSpec("deletion: {force: true}")},
			Reject: WithSpec("deletion: {deadline: 500ms}"),
			Want:   []string{`spec.deletion.deadline: Invalid value: "500ms": deadline must be at least 1s`},
		},
	}
}

func restartRules() map[string]Case {
	return map[string]Case{
		"one restart strategy": {
			Accept: []string{
				WithSpec("restart: {none: {}}"), WithSpec("restart: {fixedDelay: {attempts: 3, delay: 1s}}"),
				WithSpec("restart: {failureRate: {maxFailures: 1, interval: 1m, delay: 1s}}"), WithSpec("restart: {exponentialDelay: {}}"),
			},
			Reject: WithSpec("restart: {none: {}, fixedDelay: {attempts: 3}}"),
			Want:   []string{`spec.restart: Invalid value: exactly one of the fields in [none fixedDelay failureRate exponentialDelay] must be set`},
		},
		"delay of fixedDelay": {
			Accept: []string{WithSpec("restart: {fixedDelay: {delay: 1ms}}")},
			Reject: WithSpec("restart: {fixedDelay: {delay: 0s}}"),
			Want:   []string{`spec.restart.fixedDelay.delay: Invalid value: delay must be larger than 0s`},
		},
		"delay of failureRate": {
			Accept: []string{WithSpec("restart: {failureRate: {delay: 1ms}}")},
			Reject: WithSpec("restart: {failureRate: {delay: 0s}}"),
			Want:   []string{`spec.restart.failureRate.delay: Invalid value: delay must be larger than 0s`},
		},
		"interval of failureRate": {
			Accept: []string{WithSpec("restart: {failureRate: {interval: 1ms}}")},
			Reject: WithSpec("restart: {failureRate: {interval: 0s}}"),
			Want:   []string{`spec.restart.failureRate.interval: Invalid value: interval must be larger than 0s`},
		},
		"initialDelay": {
			Accept: []string{WithSpec("restart: {exponentialDelay: {initialDelay: 1ms}}")},
			Reject: WithSpec("restart: {exponentialDelay: {initialDelay: 0s}}"),
			Want:   []string{`spec.restart.exponentialDelay.initialDelay: Invalid value: initialDelay must be larger than 0s`},
		},
		"maxDelay": {
			Accept: []string{WithSpec("restart: {exponentialDelay: {initialDelay: 1m}}"), WithSpec("restart: {exponentialDelay: {maxDelay: 1s}}")},
			Reject: WithSpec("restart: {exponentialDelay: {initialDelay: 2s, maxDelay: 1s}}"),
			Want:   []string{`spec.restart.exponentialDelay.maxDelay: Invalid value: maxDelay (1m when unset) must not be smaller than initialDelay (1s when unset)`},
		},
		"multiplier": {
			Accept: []string{WithSpec("restart: {exponentialDelay: {multiplier: '1.0'}}"), WithSpec("restart: {exponentialDelay: {multiplier: '2'}}")},
			Reject: WithSpec("restart: {exponentialDelay: {multiplier: '0.9'}}"),
			Want:   []string{`spec.restart.exponentialDelay.multiplier: Invalid value: multiplier must be at least 1`},
		},
		"jitter": {
			Accept: []string{WithSpec("restart: {exponentialDelay: {jitter: '0'}}"), WithSpec("restart: {exponentialDelay: {jitter: '1'}}")},
			Reject: WithSpec("restart: {exponentialDelay: {jitter: '1.1'}}"),
			Want:   []string{`spec.restart.exponentialDelay.jitter: Invalid value: jitter must be between 0 and 1`},
		},
		"resetAfter": {
			Accept: []string{WithSpec("restart: {exponentialDelay: {resetAfter: 1h}}")},
			Reject: WithSpec("restart: {exponentialDelay: {resetAfter: 0s}}"),
			Want:   []string{`spec.restart.exponentialDelay.resetAfter: Invalid value: resetAfter must be larger than 0s`},
		},
	}
}

func graphRules() map[string]Case {
	return map[string]Case{
		"inputs exist": {
			Accept: []string{WithOperators(In, Key, Agg, End)},
			Reject: WithOperators(In, Out, "{name: log, inputs: [inn], log: {}}"),
			Want:   []string{`spec.dataflow.operators: Invalid value: every input must be the name of an operator of the dataflow`},
		},
		"a sink is no input": {
			Accept: []string{WithOperators(In, Out)},
			Reject: WithOperators(In, Out, "{name: log, inputs: [out], log: {}}"),
			Want:   []string{`spec.dataflow.operators: Invalid value: a sink must not be the input of an operator`},
		},
		"an aggregate reads a keyBy": {
			Accept: []string{WithOperators(In, Key, Agg, End)},
			Reject: WithOperators(In, "{name: a, inputs: [in], aggregate: {aggregates: [{name: total, function: Count}]}}", End),
			Want:   []string{`spec.dataflow.operators: Invalid value: the input of an aggregate must be a keyBy`},
		},
		"all rows are read": {
			Accept: []string{WithOperators(In, Out, "{name: log, inputs: [in], log: {}}")},
			Reject: WithOperators(In, Out, "{name: more, generator: {rows: 1}}"),
			Want:   []string{`spec.dataflow.operators: Invalid value: the rows of every source and step must be read by another operator`},
		},
		"previous names of one operator": {
			Accept: []string{WithOperators("{name: in, previousNames: [a, b], generator: {rows: 1}}", "{name: out, previousNames: [c], inputs: [in], log: {}}")},
			Reject: WithOperators("{name: in, previousNames: [a, b], generator: {rows: 1}}", "{name: out, previousNames: [b], inputs: [in], log: {}}"),
			Want:   []string{`spec.dataflow.operators: Invalid value: a previous name must not be the name or a previous name of another operator`},
		},
		"a source": {
			Accept: []string{WithOperators(In, Out)},
			Reject: WithOperators("{name: u, inputs: [u], filter: {expression: 'true'}}", "{name: out, inputs: [u], log: {}}"),
			Want: []string{
				`spec.dataflow.operators: Invalid value: a dataflow needs at least one source (files or generator)`,
				`spec.dataflow.operators[0].inputs: Invalid value: an operator must not be its own input`,
			},
		},
		"a sink": {
			Accept: []string{WithOperators(In, Out)},
			Reject: WithOperators(In, "{name: u, inputs: [u], filter: {expression: 'true'}}", "{name: v, inputs: [in], filter: {expression: 'true'}}"),
			Want: []string{
				`spec.dataflow.operators: Invalid value: the rows of every source and step must be read by another operator`,
				`spec.dataflow.operators: Invalid value: a dataflow needs at least one sink (fileSink or log)`,
				`spec.dataflow.operators[1].inputs: Invalid value: an operator must not be its own input`,
			},
		},
	}
}

func operatorRules() map[string]Case {
	return map[string]Case{
		"one kind": {
			Accept: []string{WithOperators(In, Out)},
			Reject: WithOperators("{name: in, generator: {rows: 1}, files: {path: /p, format: Text}}", Out),
			Want:   []string{`spec.dataflow.operators[0]: Invalid value: exactly one of the fields in [files generator map filter flatMap keyBy aggregate union fileSink log] must be set`},
		},
		"a source has no inputs": {
			Accept: []string{WithOperators(In, Out)},
			Reject: WithOperators(In, "{name: more, inputs: [in], generator: {rows: 1}}", "{name: out, inputs: [more], log: {}}"),
			Want:   []string{`spec.dataflow.operators[1].inputs: Invalid value: a source (files, generator) has no inputs`},
		},
		"a step has inputs": {
			Accept: []string{WithOperators(In, Out)},
			Reject: WithOperators(In, Out, "{name: log, log: {}}"),
			Want:   []string{`spec.dataflow.operators[2].inputs: Invalid value: a step or sink needs inputs: the name of the operator whose rows it reads`},
		},
		"only a union has several inputs": {
			Accept: []string{WithOperators(In, "{name: in2, generator: {rows: 1}}", "{name: u, inputs: [in, in2], union: {}}", "{name: out, inputs: [u], log: {}}")},
			Reject: WithOperators(In, "{name: in2, generator: {rows: 1}}", "{name: out, inputs: [in, in2], log: {}}"),
			Want:   []string{`spec.dataflow.operators[2].inputs: Invalid value: only a union has more than one input: put a union before this operator`},
		},
		"a union has two inputs": {
			Accept: []string{WithOperators(In, "{name: in2, generator: {rows: 1}}", "{name: u, inputs: [in, in2], union: {}}", "{name: out, inputs: [u], log: {}}")},
			Reject: WithOperators(In, "{name: u, inputs: [in], union: {}}", "{name: out, inputs: [u], log: {}}"),
			Want:   []string{`spec.dataflow.operators[1].inputs: Invalid value: a union needs at least two inputs`},
		},
		"previous names differ from the present": {
			Accept: []string{WithOperators("{name: in, previousNames: [was], generator: {rows: 1}}", Out)},
			Reject: WithOperators("{name: in, previousNames: [in], generator: {rows: 1}}", Out),
			Want:   []string{`spec.dataflow.operators[0].previousNames: Invalid value: previousNames must not hold the present name`},
		},
		"JSON needs a schema": {
			Accept: []string{WithOperators("{name: in, files: {path: /p, format: JSON, schema: [{name: a, type: Int}]}}", Out)},
			Reject: WithOperators("{name: in, files: {path: /p, format: JSON}}", Out),
			Want:   []string{`spec.dataflow.operators[0].files.schema: Invalid value: schema is required when format is JSON`},
		},
		"Text has no schema": {
			Accept: []string{WithOperators("{name: in, files: {path: /p, format: Text}}", Out)},
			Reject: WithOperators("{name: in, files: {path: /p, format: Text, schema: [{name: a, type: Int}]}}", Out),
			Want:   []string{`spec.dataflow.operators[0].files.schema: Invalid value: schema must be left out when format is Text: such rows have the one column 'line' of type String`},
		},
		"DeadLetter needs a path": {
			Accept: []string{WithOperators("{name: in, files: {path: /p, format: Text, onMalformed: DeadLetter, deadLetter: {path: /d}}}", Out)},
			Reject: WithOperators("{name: in, files: {path: /p, format: Text, onMalformed: DeadLetter}}", Out),
			Want:   []string{`spec.dataflow.operators[0].files.deadLetter: Invalid value: deadLetter is required when onMalformed is DeadLetter`},
		},
		"only DeadLetter has a path": {
			Accept: []string{WithOperators("{name: in, files: {path: /p, format: Text, onMalformed: Skip}}", Out)},
			Reject: WithOperators("{name: in, files: {path: /p, format: Text, onMalformed: Skip, deadLetter: {path: /d}}}", Out),
			Want:   []string{`spec.dataflow.operators[0].files.deadLetter: Invalid value: deadLetter must be left out unless onMalformed is DeadLetter`},
		},
		"s3 of files": {
			Accept: []string{WithOperators("{name: in, files: {path: 's3://bkt/p', format: Text, s3: {region: eu-west-1}}}", Out)},
			Reject: WithOperators("{name: in, files: {path: /p, format: Text, s3: {region: eu-west-1}}}", Out),
			Want:   []string{`spec.dataflow.operators[0].files.s3: Invalid value: s3 must be left out unless path or deadLetter.path starts with s3://`},
		},
		"s3 of fileSink": {
			Accept: []string{WithOperators(In, "{name: out, inputs: [in], fileSink: {path: 's3://bkt/p', format: JSON, s3: {region: eu-west-1}}}")},
			Reject: WithOperators(In, "{name: out, inputs: [in], fileSink: {path: /p, s3: {region: eu-west-1}}}"),
			Want:   []string{`spec.dataflow.operators[1].fileSink.s3: Invalid value: s3 must be left out unless path starts with s3://`},
		},
		"pollInterval": {
			Accept: []string{WithOperators("{name: in, files: {path: /p, format: Text, continuous: {pollInterval: 100ms}}}", Out), WithOperators("{name: in, files: {path: /p, format: Text, continuous: {}}}", Out)},
			Reject: WithOperators("{name: in, files: {path: /p, format: Text, continuous: {pollInterval: 99ms}}}", Out),
			Want:   []string{`spec.dataflow.operators[0].files.continuous.pollInterval: Invalid value: pollInterval must be at least 100ms`},
		},
		"as is not kept": {
			Accept: []string{WithOperators(In, "{name: f, inputs: [in], flatMap: {expression: '[key]', as: x, keep: [key]}}", "{name: out, inputs: [f], log: {}}")},
			Reject: WithOperators(In, "{name: f, inputs: [in], flatMap: {expression: '[key]', as: key, keep: [key]}}", "{name: out, inputs: [f], log: {}}"),
			Want:   []string{`spec.dataflow.operators[1].flatMap.as: Invalid value: as must not be one of the columns of keep`},
		},
		"Count has no expression": {
			Accept: []string{WithOperators(In, Key, Agg, End)},
			Reject: WithOperators(In, Key, "{name: a, inputs: [k], aggregate: {aggregates: [{name: total, function: Count, expression: seq}]}}", End),
			Want:   []string{`spec.dataflow.operators[2].aggregate.aggregates[0].expression: Invalid value: expression must be left out when function is Count, which counts rows`},
		},
		"Sum has an expression": {
			Accept: []string{WithOperators(In, Key, "{name: a, inputs: [k], aggregate: {aggregates: [{name: total, function: Sum, expression: seq}]}}", End)},
			Reject: WithOperators(In, Key, "{name: a, inputs: [k], aggregate: {aggregates: [{name: total, function: Sum}]}}", End),
			Want:   []string{`spec.dataflow.operators[2].aggregate.aggregates[0].expression: Invalid value: expression is required unless function is Count`},
		},
	}
}
