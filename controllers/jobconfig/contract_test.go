// SPDX-License-Identifier: Apache-2.0

package jobconfig

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
	"github.com/weir-stream/weir/controllers/jobconfig/rulestest"
	"github.com/weir-stream/weir/runtime/contract"
)

// everyField sets every field of the API that has a counterpart in the engine.
const everyField = rulestest.Head + `
spec:
  parallelism: 4
  maxParallelism: 64
  disableChaining: true
  workers: {replicas: 2, slotsPerWorker: 2}
  checkpointing:
    interval: 10s
    mode: ExactlyOnce
    timeout: 5m
    minPause: 500ms
    maxConcurrent: 1
    tolerableFailures: 7
    alignment: {mode: AlignedThenUnaligned, timeout: 3s}
    retention: {count: 3, onCancel: Delete}
    onCorruption: FallBack
  stateBackend: {type: Memory, incremental: true, localRecovery: true, memoryBudget: 1Gi}
  restart:
    exponentialDelay: {initialDelay: 2s, maxDelay: 2m, multiplier: "2.5", jitter: "0", resetAfter: 30m, attempts: 9}
  storage:
    s3: {bucket: bkt, prefix: a/b, region: eu-central-1}
    savepoints: {prefix: sp}
  upgrade: {allowNonRestoredState: true}
  restoreFrom: {path: s3://bkt/sp/one, mode: Claim, allowDrained: true}
  dataflow:
    operators:
    - name: texts
      previousNames: [old]
      parallelism: 2
      files:
        path: s3://input/texts
        format: JSON
        schema: [{name: a, type: String}, {name: b, type: Int}, {name: c, type: Float}, {name: d, type: Bool}]
        continuous: {pollInterval: 3s}
        onMalformed: DeadLetter
        deadLetter: {path: s3://dead/x}
        s3: {endpoint: "http://127.0.0.1:9000"}
    - name: numbers
      generator: {keys: 5, rows: 6, rowsPerSecond: 7}
    - name: projected
      inputs: [texts]
      map: {columns: [{name: key, expression: b}, {name: seq, expression: b + 1}]}
    - name: both
      inputs: [projected, numbers]
      union: {}
    - name: some
      inputs: [both]
      filter: {expression: key > 1}
    - name: more
      inputs: [some]
      flatMap: {expression: "[key, seq]", as: x, keep: [key]}
    - name: keyed
      inputs: [more]
      keyBy: {columns: [key]}
    - name: sums
      inputs: [keyed]
      aggregate: {aggregates: [{name: rows, function: Count}, {name: total, function: Sum, expression: x}]}
    - name: files
      inputs: [sums]
      fileSink: {path: /out, format: JSON}
    - name: log
      inputs: [sums]
      log: {}
`

func TestToContract_EveryField(t *testing.T) {
	t.Parallel()
	job := mustValidate(t, everyField)
	got, err := ToContract(job)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(everyFieldConfig(), got); diff != "" {
		t.Errorf("configuration (-want +got):\n%s", diff)
	}
}

func everyFieldConfig() contract.JobConfig {
	return contract.JobConfig{
		Namespace: "default", Name: "j", Parallelism: 4, MaxParallelism: 64, DisableChaining: true,
		Checkpointing: &contract.Checkpointing{
			Interval: seconds(10), Mode: contract.ExactlyOnce, Timeout: seconds(300),
			MinPause: contract.Duration(500 * time.Millisecond), MaxConcurrent: 1, TolerableFailures: 7,
			RetentionCount: 3, DeleteOnCancel: true, OnCorruption: contract.FallBackOnCorruption,
			Alignment: &contract.Alignment{Mode: contract.AlignedThenUnaligned, Timeout: seconds(3)},
		},
		StateBackend: &contract.StateBackend{Type: "Memory", Incremental: true, LocalRecovery: true, MemoryBudget: 1 << 30},
		Restart: contract.Restart{ExponentialDelay: &contract.ExponentialDelay{
			InitialDelay: seconds(2), MaxDelay: seconds(120), Multiplier: 2.5, ResetAfter: seconds(1800),
			Jitter: new(0.0), Attempts: new(9),
		}},
		Storage: &contract.Storage{
			S3:              &contract.S3{Endpoint: "https://s3.eu-central-1.amazonaws.com", Bucket: "bkt", Prefix: "a/b", Region: "eu-central-1"},
			SavepointPrefix: "sp",
		},
		RestoreFrom: "s3://bkt/sp/one", RestoreMode: contract.Claim, AllowNonRestoredState: true, AllowDrained: true,
		Dataflow: &contract.Dataflow{Operators: []contract.Operator{
			{Name: "texts", PreviousNames: []string{"old"}, Parallelism: 2, Files: &contract.FilesSource{
				Path: "s3://input/texts", Format: contract.JSONFormat,
				Schema: []contract.Column{
					{Name: "a", Type: contract.StringColumn},
					{Name: "b", Type: contract.IntColumn},
					{Name: "c", Type: contract.FloatColumn},
					{Name: "d", Type: contract.BoolColumn},
				},
				Continuous:  &contract.Continuous{PollInterval: seconds(3)},
				OnMalformed: "DeadLetter", DeadLetterPath: "s3://dead/x",
				S3: &contract.S3{Endpoint: "http://127.0.0.1:9000", Bucket: "input", Region: "us-east-1"},
			}},
			{Name: "numbers", Generator: &contract.Generator{Keys: 5, Rows: 6, RowsPerSecond: 7}},
			{Name: "projected", Inputs: []string{"texts"}, Map: &contract.Map{Columns: []contract.NamedExpression{
				{Name: "key", Expression: "b"}, {Name: "seq", Expression: "b + 1"},
			}}},
			{Name: "both", Inputs: []string{"projected", "numbers"}, Union: &struct{}{}},
			{Name: "some", Inputs: []string{"both"}, Filter: &contract.Filter{Expression: "key > 1"}},
			{Name: "more", Inputs: []string{"some"}, FlatMap: &contract.FlatMap{Expression: "[key, seq]", As: "x", Keep: []string{"key"}}},
			{Name: "keyed", Inputs: []string{"more"}, KeyBy: &contract.KeyBy{Columns: []string{"key"}}},
			{Name: "sums", Inputs: []string{"keyed"}, Aggregate: &contract.Aggregate{Aggregates: []contract.AggregateColumn{
				{Name: "rows", Function: contract.CountFunction}, {Name: "total", Function: contract.SumFunction, Expression: "x"},
			}}},
			{Name: "files", Inputs: []string{"sums"}, FileSink: &contract.FileSink{Path: "/out"}},
			{Name: "log", Inputs: []string{"sums"}, Log: &contract.LogSink{}},
		}},
	}
}

func seconds(n int) contract.Duration { return contract.Duration(time.Duration(n) * time.Second) }

func mustValidate(t *testing.T, file string) *streamv1.StreamJob {
	t.Helper()
	job, err := Validate(t.Context(), []byte(file))
	if err != nil {
		t.Fatal(err)
	}
	return job
}

func TestToContract_UnsetStaysUnset(t *testing.T) {
	t.Parallel()
	got, err := ToContract(mustValidate(t, rulestest.WithSpec()))
	if err != nil {
		t.Fatal(err)
	}
	want := contract.JobConfig{Namespace: "default", Name: "j", Dataflow: &contract.Dataflow{Operators: []contract.Operator{
		{Name: "in", Generator: &contract.Generator{Rows: 1}},
		{Name: "out", Inputs: []string{"in"}, Log: &contract.LogSink{}},
	}}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("configuration (-want +got):\n%s", diff)
	}
}

func TestToContract_Program(t *testing.T) {
	t.Parallel()
	got, err := ToContract(mustValidate(t, rulestest.Head+"spec: {parallelism: 3, program: {image: 'example.com/job:1', args: [--keys, '9']}}"))
	if err != nil {
		t.Fatal(err)
	}
	want := contract.JobConfig{Namespace: "default", Name: "j", Parallelism: 3, Args: []string{"--keys", "9"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("configuration (-want +got):\n%s", diff)
	}
}

// TestToContract_OnlyForTheOperator shows that what the operator alone acts on does not reach the engine.
func TestToContract_OnlyForTheOperator(t *testing.T) {
	t.Parallel()
	storage := "storage: {volume: {claimName: c, path: /p}}"
	plain, err := ToContract(mustValidate(t, rulestest.WithSpec(storage)))
	if err != nil {
		t.Fatal(err)
	}
	got, err := ToContract(mustValidate(t, rulestest.WithSpec(storage, "state: Suspended", "deletionPolicy: Savepoint",
		"savepoint: {trigger: one, target: x}", "upgrade: {mode: LastCheckpoint, savepointTimeout: 5s}",
		"workers: {resources: {requests: {cpu: 1}}}", "coordinator: {resources: {limits: {memory: 1Gi}}}")))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(plain, got); diff != "" {
		t.Errorf("configuration (-without +with):\n%s", diff)
	}
}

func TestToContract_Restart(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		field string
		want  contract.Restart
	}{
		"none":                {field: "restart: {none: {}}", want: contract.Restart{None: &struct{}{}}},
		"fixedDelay":          {field: "restart: {fixedDelay: {attempts: 3, delay: 2s}}", want: contract.Restart{FixedDelay: &contract.FixedDelay{Attempts: new(3), Delay: seconds(2)}}},
		"fixedDelay, unset":   {field: "restart: {fixedDelay: {}}", want: contract.Restart{FixedDelay: &contract.FixedDelay{}}},
		"failureRate":         {field: "restart: {failureRate: {maxFailures: 3, interval: 60s, delay: 2s}}", want: contract.Restart{FailureRate: &contract.FailureRate{MaxFailures: 3, Interval: seconds(60), Delay: seconds(2)}}},
		"exponential, unset":  {field: "restart: {exponentialDelay: {}}", want: contract.Restart{ExponentialDelay: &contract.ExponentialDelay{}}},
		"exponential, jitter": {field: "restart: {exponentialDelay: {jitter: '0.25'}}", want: contract.Restart{ExponentialDelay: &contract.ExponentialDelay{Jitter: new(0.25)}}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := ToContract(mustValidate(t, rulestest.WithSpec(tc.field)))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, got.Restart); diff != "" {
				t.Errorf("restart (-want +got):\n%s", diff)
			}
		})
	}
}

func TestToContract_DeadLetterInAnObjectStore(t *testing.T) {
	t.Parallel()
	got, err := ToContract(mustValidate(t, rulestest.WithOperators(
		"{name: in, files: {path: /in, format: Text, onMalformed: DeadLetter, deadLetter: {path: 's3://dead/x'}, s3: {region: r-1}}}", rulestest.Out)))
	if err != nil {
		t.Fatal(err)
	}
	want := &contract.S3{Endpoint: "https://s3.r-1.amazonaws.com", Bucket: "dead", Region: "r-1"}
	if diff := cmp.Diff(want, got.Dataflow.Operators[0].Files.S3); diff != "" {
		t.Errorf("object store (-want +got):\n%s", diff)
	}
}

func TestWorkers(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		fields                  []string
		wantReplicas, wantSlots int
	}{
		"unset":            {wantReplicas: 1, wantSlots: 1},
		"parallelism only": {fields: []string{"parallelism: 5"}, wantReplicas: 1, wantSlots: 5},
		"replicas":         {fields: []string{"parallelism: 5", "workers: {replicas: 2}"}, wantReplicas: 2, wantSlots: 3},
		"slots":            {fields: []string{"parallelism: 5", "workers: {slotsPerWorker: 2}"}, wantReplicas: 3, wantSlots: 2},
		"resources only":   {fields: []string{"workers: {resources: {limits: {cpu: 100m}}}"}, wantReplicas: 1, wantSlots: 1},
		"both":             {fields: []string{"parallelism: 5", "workers: {replicas: 5, slotsPerWorker: 4}"}, wantReplicas: 5, wantSlots: 4},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			replicas, slots := Workers(mustValidate(t, rulestest.WithSpec(tc.fields...)))
			if replicas != tc.wantReplicas || slots != tc.wantSlots {
				t.Errorf("Workers = %d, %d, want %d, %d", replicas, slots, tc.wantReplicas, tc.wantSlots)
			}
		})
	}
}

func TestLargestParallelism_OfAnOperator(t *testing.T) {
	t.Parallel()
	job := mustValidate(t, rulestest.WithOperators("{name: in, parallelism: 3, generator: {rows: 1}}", rulestest.Out))
	if got := LargestParallelism(job); got != 3 {
		t.Errorf("LargestParallelism = %d, want 3", got)
	}
}
