// SPDX-License-Identifier: Apache-2.0

package jobconfig

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
	"github.com/weir-stream/weir/config/crd"
	"github.com/weir-stream/weir/controllers/jobconfig/rulestest"
)

const blocked = "Invalid value: null: some validation rules were not checked because the object was invalid; correct the existing errors to complete validation"

func TestValidate_Refuses(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		file string
		want []string
	}{
		"nothing": {
			file: "# only a comment\n",
			want: []string{"the file must hold one StreamJob, but it holds 0 YAML documents"},
		},
		"two documents": {
			file: rulestest.WithSpec() + "---\n" + rulestest.WithSpec(),
			want: []string{"the file must hold one StreamJob, but it holds 2 YAML documents"},
		},
		"no mapping": {
			file: "- a\n- b\n",
			want: []string{"the file must hold a StreamJob: a YAML mapping with apiVersion, kind, metadata and spec"},
		},
		"no YAML": {
			file: "apiVersion: [\n",
			want: []string{"strict decoding error: yaml: line 1: did not find expected node content"},
		},
		"repeated field": {
			file: rulestest.Head + "spec:\n  parallelism: 1\n  parallelism: 2\n  " + rulestest.Flow + "\n",
			want: []string{`strict decoding error: yaml: unmarshal errors: line 6: key "parallelism" already set in map`},
		},
		"other kind": {
			file: "apiVersion: v1\nkind: Pod\nmetadata: {name: j}\n",
			want: []string{
				`apiVersion: Invalid value: "v1": must be stream.weir.dev/v1alpha1`,
				`kind: Invalid value: "Pod": must be StreamJob`,
			},
		},
		"unknown fields": {
			file: strings.Replace(rulestest.WithSpec("paralelism: 2"), "rows: 1}", "row: 1}", 1),
			want: []string{
				`strict decoding error: unknown field "spec.dataflow.operators[0].generator.row"`,
				`strict decoding error: unknown field "spec.paralelism"`,
			},
		},
		"no name": {
			file: strings.Replace(rulestest.WithSpec(), "metadata: {name: j}\n", "", 1),
			want: []string{"metadata.name: Required value: name or generateName is required", blocked},
		},
		"name that is no name": {
			file: strings.Replace(rulestest.WithSpec(), "name: j", "name: J_1", 1),
			want: []string{
				`metadata.name: Invalid value: "J_1": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', ` +
					`and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')`,
				"Invalid value: metadata.name must start with a lower case letter, contain only lower case letters, digits and '-', " +
					"end with a letter or digit, and have at most 40 characters",
			},
		},
		"no spec": {
			file: rulestest.Head,
			want: []string{"spec: Required value", blocked},
		},
		"wrong type": {
			file: rulestest.WithSpec("parallelism: two"),
			want: []string{`spec.parallelism: Invalid value: "string": spec.parallelism in body must be of type integer: "string"`, blocked},
		},
		"too small": {
			file: rulestest.WithSpec("parallelism: 0"),
			want: []string{"spec.parallelism: Invalid value: 0: spec.parallelism in body should be greater than or equal to 1"},
		},
		"too many key groups": {
			file: rulestest.WithSpec("maxParallelism: 32769"),
			want: []string{"spec.maxParallelism: Invalid value: 32769: spec.maxParallelism in body should be less than or equal to 32768"},
		},
		"no duration": {
			file: rulestest.WithSpec("checkpointing: {interval: 10}"),
			want: []string{`spec.checkpointing.interval: Invalid value: "integer": spec.checkpointing.interval in body must be of type string: "integer"`, blocked},
		},
		"no enum value": {
			file: rulestest.WithSpec("checkpointing: {interval: 10s, mode: exactlyOnce}"),
			want: []string{`spec.checkpointing.mode: Unsupported value: "exactlyOnce": supported values: "ExactlyOnce", "AtLeastOnce"`, blocked},
		},
		"operator twice": {
			file: rulestest.WithOperators(rulestest.In, rulestest.In, rulestest.Out),
			want: []string{`spec.dataflow.operators[1]: Duplicate value: {"name":"in"}`},
		},
		"cycle": {
			file: rulestest.WithOperators(rulestest.In, "{name: u, inputs: [in, g], union: {}}", "{name: f, inputs: [u], filter: {expression: 'true'}}",
				"{name: g, inputs: [f], filter: {expression: 'true'}}", "{name: out, inputs: [g], log: {}}"),
			want: []string{"spec.dataflow.operators: Invalid value: operators must not form a cycle: u -> f -> g -> u"},
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(tc.want, problemsOf(t, tc.file)); diff != "" {
				t.Errorf("problems of\n%s\n(-want +got):\n%s", tc.file, diff)
			}
		})
	}
}

func TestValidate_ExplainsInDetails(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		file string
		want []string
	}{
		"input that does not exist": {
			file: rulestest.WithOperators(rulestest.In, rulestest.Out, "{name: log, inputs: [inn], log: {}}"),
			want: []string{`operator "log": there is no operator "inn" to be its input`},
		},
		"sink as input": {
			file: rulestest.WithOperators(rulestest.In, rulestest.Out, "{name: log, inputs: [out], log: {}}"),
			want: []string{`operator "log": its input "out" is a sink`},
		},
		"aggregate without keyBy": {
			file: rulestest.WithOperators(rulestest.In, "{name: a, inputs: [in], aggregate: {aggregates: [{name: total, function: Count}]}}", rulestest.End),
			want: []string{`operator "a": its input "in" is not a keyBy; put one between them`},
		},
		"rows that nobody reads": {
			file: rulestest.WithOperators(rulestest.In, rulestest.Out, "{name: more, generator: {rows: 1}}"),
			want: []string{`operator "more": no operator has it as input; add a reader, or remove it`},
		},
		"text that YAML reads as a boolean": {
			file: rulestest.WithOperators(rulestest.In, "{name: m, inputs: [in], map: {columns: [{name: n, expression: key}]}}", "{name: out, inputs: [m], log: {}}"),
			want: []string{"YAML reads y, n, yes, no, on, off, true and false as booleans: quote them to write a text"},
		},
		"text that YAML reads as a number": {
			file: rulestest.WithSpec("restart: {exponentialDelay: {multiplier: 1.5}}"),
			want: []string{`a text that looks like a number must be quoted ("1.5"), and a duration needs a unit (10s)`},
		},
		"quantity with a space": {
			file: rulestest.WithSpec("stateBackend: {memoryBudget: 2 GB}"),
			want: []string{"a quantity is a number and right behind it, without a space, its unit: 2Gi and 512Mi of memory, 500m for half a core"},
		},
		"field that is misspelled": {
			file: rulestest.WithOperators("{name: in, generater: {rows: 1}}", rulestest.End),
			want: []string{"spec.dataflow.operators[0].generater: did you mean generator?"},
		},
		"field in another place": {
			file: rulestest.WithSpec("minPause: 1s"),
			want: []string{"spec.minPause: a field of this name is at spec.checkpointing.minPause"},
		},
		"field in one of two other places": {
			file: rulestest.WithSpec("interval: 1s"),
			want: []string{"spec.interval: a field of this name is at spec.checkpointing.interval and spec.restart.failureRate.interval"},
		},
		"field of another case": {
			file: rulestest.WithSpec("Restart: {none: {}}"),
			want: []string{"spec.Restart: did you mean restart?"},
		},
		"field of which nothing is known": {
			file: rulestest.WithSpec("zebra: 1"),
		},
		"previous name of two": {
			file: rulestest.WithOperators("{name: in, previousNames: [b], generator: {rows: 1}}", "{name: out, previousNames: [b], inputs: [in], log: {}}"),
			want: []string{
				`operator "in": its previous name "b" belongs to several operators: [in out]`,
				`operator "out": its previous name "b" belongs to several operators: [in out]`,
			},
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := Validate(t.Context(), []byte(tc.file))
			invalid, ok := errors.AsType[*InvalidError](err)
			if !ok {
				t.Fatalf("Validate returned %v, want an InvalidError", err)
			}
			if diff := cmp.Diff(tc.want, invalid.Details); diff != "" {
				t.Errorf("details (-want +got):\n%s", diff)
			}
			for _, detail := range tc.want {
				if !strings.Contains(err.Error(), "\n- "+detail) {
					t.Errorf("the error does not show %q:\n%v", detail, err)
				}
			}
		})
	}
}

func TestValidate_TooLarge(t *testing.T) {
	t.Parallel()
	file := rulestest.WithSpec() + "# " + strings.Repeat("x", maxSize)
	if got := problemsOf(t, file); len(got) != 1 || !strings.Contains(got[0], "at most 3145728") {
		t.Errorf("problems = %q, want one that names the limit", got)
	}
}

func TestValidate_SetsNamespace(t *testing.T) {
	t.Parallel()
	for file, want := range map[string]string{
		rulestest.WithSpec(): "default",
		strings.Replace(rulestest.WithSpec(), "name: j", "name: j, namespace: ns", 1): "ns",
	} {
		job, err := Validate(t.Context(), []byte(file))
		if err != nil {
			t.Fatal(err)
		}
		if job.Namespace != want {
			t.Errorf("namespace = %q, want %q", job.Namespace, want)
		}
	}
}

func TestValidate_SkipsEmptyDocumentsAndNulls(t *testing.T) {
	t.Parallel()
	file := "---\n# leading comment\n" + rulestest.WithSpec("checkpointing: null") + "---\n# trailing comment\n"
	job, err := Validate(t.Context(), []byte(file))
	if err != nil {
		t.Fatal(err)
	}
	if job.Spec.Checkpointing != nil {
		t.Errorf("checkpointing = %+v, want none for null", job.Spec.Checkpointing)
	}
}

// TestValidate_Samples checks every StreamJob that users are shown: YAML files and the blocks in documents.
func TestValidate_Samples(t *testing.T) {
	t.Parallel()
	samples := findSamples(t)
	if len(samples) < 3 {
		t.Fatalf("found %d samples, want at least 3", len(samples))
	}
	for name, sample := range samples {
		if strings.Contains(sample, "\nkind: StreamSnapshot\n") {
			// No job: that its fields exist is all that can be said here.
			if err := yaml.UnmarshalStrict([]byte(sample), &streamv1.StreamSnapshot{}); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		job, err := Validate(t.Context(), []byte(sample))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if _, err := ToContract(job); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// findSamples returns the StreamJobs in the tree by where they are.
func findSamples(t *testing.T) map[string]string {
	t.Helper()
	samples := map[string]string{}
	root := filepath.Join("..", "..")
	for _, dir := range []string{".", "bench", "config/samples", "docs", "examples", "hack"} {
		err := filepath.WalkDir(filepath.Join(root, dir), func(name string, entry fs.DirEntry, err error) error {
			switch {
			case errors.Is(err, fs.ErrNotExist):
				return fs.SkipAll
			case err != nil:
				return err
			case entry.IsDir():
				if dir == "." && name != root {
					return fs.SkipDir
				}
				return nil
			}
			data, err := os.ReadFile(name)
			if err != nil {
				return err
			}
			switch filepath.Ext(name) {
			case ".yaml":
				addSample(samples, name, string(data))
			case ".md":
				for i, block := range strings.Split(string(data), "\n```") {
					_, text, _ := strings.Cut(block, "\n")
					addSample(samples, fmt.Sprintf("%s, block %d", name, i), text)
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return samples
}

func addSample(samples map[string]string, name, text string) {
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "#") {
			if strings.HasPrefix(line, "apiVersion: stream.weir.dev/") {
				samples[name] = text
			}
			return
		}
	}
}

// TestValidate_LargestDataflow shows that the rules of a dataflow with as many operators, inputs and previous names as
// the schema allows stay within the cost that the API server grants.
func TestValidate_LargestDataflow(t *testing.T) {
	t.Parallel()
	name := func(kind string, i int) string { return fmt.Sprintf("%s-%s-%d", kind, strings.Repeat("x", 52), i) }
	var operators []string
	for i := range 49 {
		operators = append(operators, fmt.Sprintf("{name: %s, previousNames: [%s, %s, %s, %s], parallelism: 3, generator: {rows: 1}}",
			name("in", i), name("pa", i), name("pb", i), name("pc", i), name("pd", i)))
	}
	for i := range 50 {
		inputs := make([]string, 16)
		for j := range inputs {
			inputs[j] = name("in", (i+3*j)%49)
		}
		if i > 0 {
			inputs[0] = name("un", i-1)
		}
		operators = append(operators, fmt.Sprintf("{name: %s, previousNames: [%s, %s, %s, %s], inputs: [%s], union: {}}",
			name("un", i), name("qa", i), name("qb", i), name("qc", i), name("qd", i), strings.Join(inputs, ", ")))
	}
	operators = append(operators, "{name: out, inputs: ["+name("un", 49)+"], log: {}}")
	if _, err := Validate(t.Context(), []byte(rulestest.WithOperators(operators...))); err != nil {
		t.Error(err)
	}
}

func TestValidate_Concurrently(t *testing.T) {
	t.Parallel()
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			if _, err := Validate(t.Context(), []byte(rulestest.WithSpec())); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
}

func BenchmarkValidate_First(b *testing.B) {
	for b.Loop() {
		if _, err := compile(crd.StreamJobs, "v1alpha1"); err != nil {
			b.Fatal(err)
		}
	}
}

// TestValidate_IgnoresStatus lets the output of kubectl get -o yaml be given back, whatever the status says.
func TestValidate_IgnoresStatus(t *testing.T) {
	t.Parallel()
	job := mustValidate(t, rulestest.WithSpec()+"status: {phase: Unheard, grant: 3, conditions: [{type: Ready}]}\n")
	if diff := cmp.Diff(streamv1.StreamJobStatus{}, job.Status); diff != "" {
		t.Errorf("status (-want +got):\n%s", diff)
	}
}
