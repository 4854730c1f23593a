// SPDX-License-Identifier: Apache-2.0

package process_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"

	"github.com/weir-stream/weir/runtime/contract"
	"github.com/weir-stream/weir/runtime/coordinator"
	"github.com/weir-stream/weir/runtime/program/declarative"
	"github.com/weir-stream/weir/runtime/storage"
	"github.com/weir-stream/weir/runtime/storage/open"
)

// A new version whose state is of another type is found by the check, not by its tasks.
func TestCheck_FindsStateOfAnotherType(t *testing.T) {
	for _, keys := range []string{"1", "2", "3", "1000"} { // with few keys, most key groups and maybe a whole subtask have no state
		t.Run(keys+" keys", func(t *testing.T) { findsStateOfAnotherType(t, "generator: {keys: "+keys+", rowsPerSecond: 5000}") })
	}
}

func findsStateOfAnotherType(t *testing.T, generator string) {
	t.Helper()
	dir := t.TempDir()
	file := jobFile(t, dir, "generator: {keys: 10, rows: 1000}", generator)
	savepointOf(t, file)
	tests := map[string]struct {
		change string
		want   contract.ProblemReason
		text   string
	}{
		"the same":              {change: "function: Count"},
		"another function":      {change: "function: Max, expression: seq", want: contract.IncompatibleState, text: `operator "counts"`},
		"another one besides":   {change: "function: Count}, {name: most, function: Max, expression: seq", want: contract.IncompatibleState, text: "value type"},
		"not a column any more": {change: "function: Max, expression: sequence", want: contract.InvalidJob, text: "sequence"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			r, err := check(t, jobFile(t, dir, "generator: {keys: 10, rows: 1000}", generator, "function: Count", tc.change))
			switch {
			case tc.want == "" && (err != nil || !r.OK || len(r.Warnings) > 0 || r.Newest == nil):
				t.Errorf("got %+v, %v", r, err)
			case tc.want != "" && (err == nil || coordinator.ProblemOf(err).Reason != tc.want || !strings.Contains(err.Error(), tc.text)):
				t.Errorf("got %v, want %s about %s", err, tc.want, tc.text)
			}
		})
	}
}

// check does what an agent pod does for the job of a file.
func check(t *testing.T, file string) (contract.AgentResult, error) {
	t.Helper()
	code, text := run(t, nil, weir, "config", file)
	if code != 0 {
		t.Fatal(text)
	}
	var cfg contract.JobConfig
	if err := json.Unmarshal([]byte(text), &cfg); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	store, err := open.Open(t.Context(), storage.Config{File: &storage.FileConfig{Dir: cfg.Storage.Volume.Path}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = store.Close() }()
	return coordinator.Check(t.Context(), coordinator.Options{
		Job: cfg, Grant: 100, Build: declarative.Build, Store: store, Location: cfg.Storage.Volume.Path, Durable: true, Log: logr.Discard(),
		Linger: time.Second,
	})
}
