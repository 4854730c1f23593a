// SPDX-License-Identifier: Apache-2.0

package badinput_test

import (
	"testing"
)

func TestGoodJob(t *testing.T) {
	t.Parallel()
	if out, ok := run(t, nil, weir, "run", newJob(t).file(t)); !ok {
		t.Error(out)
	}
}

func TestConfig(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		change func(*job)
		args   []string
		want   []string
	}{
		"invalid YAML":     {change: func(j *job) { j.spec = "checkpointing: [" }, want: []string{"job.yaml", "yaml: line"}},
		"unknown field":    {change: func(j *job) { j.spec = "paralelism: 2" }, want: []string{`unknown field "spec.paralelism"`}},
		"CEL syntax":       {change: func(j *job) { j.expression = "key +" }, want: []string{`operator "mapped"`, `expression "key +"`, "column 6"}},
		"CEL column":       {change: func(j *job) { j.expression = "kee + 1" }, want: []string{`operator "mapped"`, "'kee'", "the columns are: key Int, seq Int"}},
		"CEL type":         {change: func(j *job) { j.expression = "key + 'a'" }, want: []string{`operator "mapped"`, "key + 'a'", "(int, string)", "column 5"}},
		"max parallelism":  {change: func(j *job) { j.spec = "parallelism: 9\n  maxParallelism: 8" }, want: []string{"parallelism must not be larger than maxParallelism"}},
		"flag above max":   {change: func(j *job) { j.spec = "maxParallelism: 8" }, args: []string{"--parallelism", "9"}, want: []string{"parallelism 9 is above maxParallelism 8", "lower the parallelism"}},
		"no input":         {change: func(j *job) { j.source, j.expression = "files: {path: DIR/none, format: Text}", "line" }, want: []string{`operator "rows"`, "/none does not exist", "create it or correct the path"}},
		"division by zero": {change: func(j *job) { j.spec, j.expression = "restart: {none: {}}", "key / 0" }, want: []string{`operator "mapped"`, "key / 0", "division by zero", "key=0, seq=1"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			j := newJob(t)
			tc.change(j)
			refused(t, nil, append([]string{weir, "run", j.file(t)}, tc.args...), tc.want...)
		})
	}
}

func TestPanic(t *testing.T) {
	t.Parallel()
	for _, workers := range []string{"0", "1"} {
		refused(t, nil, []string{panics, "run", "--workers", workers},
			`"broken"`, "panic", "a mistake of the user", "main.go:")
	}
}
