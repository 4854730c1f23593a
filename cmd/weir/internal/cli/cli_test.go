// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"encoding/json"
	"flag"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-stream/weir/runtime/contract"
)

var update = flag.Bool("update", false, "write the goldens anew")

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// weir runs a command line and returns what it printed.
func weir(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	a := &App{Out: &out, Err: &errs, Now: func() time.Time { return noon }, Version: "v0"}
	code = a.Run(t.Context(), args)
	return code, out.String(), errs.String()
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", name, diff)
	}
}

func TestHelp(t *testing.T) {
	tests := map[string][]string{
		"help.txt":             {"--help"},
		"help_run.txt":         {"run", "--help"},
		"help_stop.txt":        {"stop", "--help"},
		"help_snapshot.txt":    {"snapshot", "--help"},
		"help_status.txt":      {"status", "--help"},
		"help_suspend.txt":     {"suspend", "--help"},
		"help_cancel.txt":      {"cancel", "--help"},
		"help_checkpoints.txt": {"checkpoints", "--help"},
	}
	for name, args := range tests {
		t.Run(name, func(t *testing.T) {
			code, out, errs := weir(t, args...)
			if code != exitOK || errs != "" {
				t.Errorf("exit code %d, stderr %q", code, errs)
			}
			golden(t, name, out)
		})
	}
}

func TestUsage(t *testing.T) {
	tests := map[string]struct {
		args []string
		want string
	}{
		"unknown command":    {[]string{"fly"}, "weir: unknown command \"fly\"\nTry 'weir --help'.\n"},
		"unknown subcommand": {[]string{"snapshot", "rm"}, "weir: unknown command \"rm\"\nTry 'weir snapshot --help'.\n"},
		"unknown flag":       {[]string{"run", "--fast", "f"}, "weir: unknown flag: --fast\nTry 'weir run --help'.\n"},
		"no file":            {[]string{"run"}, "weir: FILE is missing\nTry 'weir run --help'.\n"},
		"too many":           {[]string{"validate", "a", "b"}, "weir: \"b\" is one argument too many\nTry 'weir validate --help'.\n"},
		"no arguments":       {[]string{"version", "x"}, "weir: it takes no arguments, but \"x\" is given\nTry 'weir version --help'.\n"},
		"no api":             {[]string{"stop"}, "weir: --api ADDR is missing\nTry 'weir stop --help'.\n"},
		"stop of a name":     {[]string{"stop", "x"}, "weir: it takes no arguments, but \"x\" is given: weir suspend JOB stops a StreamJob of a cluster with a savepoint\nTry 'weir stop --help'.\n"},
		"no job":             {[]string{"status"}, "weir: JOB or --api ADDR is missing: name a StreamJob of a cluster, or the control API of a job\nTry 'weir status --help'.\n"},
		"two jobs":           {[]string{"cancel", "x", "--api", "h:1"}, "weir: JOB and --api are both given: leave one of them out\nTry 'weir cancel --help'.\n"},
		"two names":          {[]string{"savepoint", "x", "y"}, "weir: \"y\" is one argument too many\nTry 'weir savepoint --help'.\n"},
		"no name":            {[]string{"suspend"}, "weir: JOB is missing\nTry 'weir suspend --help'.\n"},
		"flag of the other":  {[]string{"savepoint", "x", "--operation-id", "y"}, "weir: --operation-id is for jobs that are named by --api\nTry 'weir savepoint --help'.\n"},
		"flag of a cluster":  {[]string{"status", "--api", "h:1", "-n", "y"}, "weir: --namespace is for jobs that are named by JOB\nTry 'weir status --help'.\n"},
		"another format":     {[]string{"status", "x", "-o", "xml"}, "weir: --output is neither json nor yaml\nTry 'weir status --help'.\n"},
		"wait of what":       {[]string{"suspend", "x", "--wait=maybe"}, "weir: invalid argument \"maybe\" for \"--wait\" flag: \"maybe\" is neither true nor false\nTry 'weir suspend --help'.\n"},
		"target of nothing":  {[]string{"cancel", "--api", "h:1", "--target", "t"}, "weir: --target is given without --savepoint\nTry 'weir cancel --help'.\n"},
		"negative":           {[]string{"run", "--workers", "-1", "f"}, "weir: --parallelism, --workers and --slots must not be negative\nTry 'weir run --help'.\n"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			code, out, errs := weir(t, tc.args...)
			if code != exitUsage || out != "" {
				t.Errorf("exit code %d, stdout %q", code, out)
			}
			if diff := cmp.Diff(tc.want, errs); diff != "" {
				t.Errorf("stderr (-want +got):\n%s", diff)
			}
		})
	}
}

// fakeAPI answers each path with a value, and remembers the bodies it was sent.
func fakeAPI(t *testing.T, answers map[string]any, code int) (addr string, bodies map[string]string) {
	t.Helper()
	bodies = map[string]string{}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var body bytes.Buffer
		_, _ = body.ReadFrom(r.Body)
		key := r.Method + " " + r.URL.Path
		bodies[key] = body.String()
		answer, ok := answers[key]
		if !ok {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		w.WriteHeader(code)
		_ = json.NewEncoder(w).Encode(answer)
	}))
	t.Cleanup(s.Close)
	return s.URL, bodies
}

func TestStatus(t *testing.T) {
	job := contract.JobStatus{
		Namespace: "default", Name: "page-views", JobID: "0123456789abcdef", State: contract.JobRunning,
		Attempt: "1-1-2", Restarts: 1, Parallelism: 2, MaxParallelism: 128, SlotsNeeded: 2, SlotsOffered: 4,
		RecordsIn: 1234567, RecordsOut: 89,
		LastFailure:    &contract.Failure{At: noon.Add(-90 * time.Second), Message: "worker w-2 is lost: its connection ended"},
		RestoredFrom:   &contract.SnapshotInfo{ID: 3, Path: "/data/default/page-views/0123/checkpoints/chk-3/"},
		LastCheckpoint: &contract.SnapshotInfo{ID: 9, Path: "/data/default/page-views/0123/checkpoints/chk-9/", CompletedAt: noon.Add(-3 * time.Second), SizeBytes: 4 << 20, DurationMillis: 31},
		LastSavepoint:  &contract.SnapshotInfo{ID: 5, Path: "/data/savepoints/savepoint-012345-a/", CompletedAt: noon.Add(-time.Hour), SizeBytes: 100},
		Storage:        "/data",
		Warnings:       []string{"something to know"},
		Workers:        []contract.WorkerReport{{Name: "w-1", Slots: 2}, {Name: "w-3", Slots: 2}},
		Tasks: []contract.TaskReport{
			{Task: "source/0", Worker: "w-1", State: "Running", RecordsIn: 0, RecordsOut: 1234567},
			{Task: "count/0", Worker: "w-3", State: "Running", RecordsIn: 1234567, RecordsOut: 89},
		},
		Operations: []contract.Operation{
			{ID: "a", Type: contract.SavepointOperation, Phase: contract.OperationSucceeded, Path: "/data/savepoints/savepoint-012345-a/"},
			{ID: "b", Type: contract.StopOperation, Phase: contract.OperationRunning},
		},
	}
	addr, _ := fakeAPI(t, map[string]any{
		"GET /v1/job":         job,
		"GET /v1/checkpoints": contract.CheckpointsReport{Completed: 8, Failed: 1, InFlight: 1},
	}, http.StatusOK)
	code, out, errs := weir(t, "status", "--api", addr)
	if code != exitOK || errs != "" {
		t.Errorf("exit code %d, stderr %q", code, errs)
	}
	golden(t, "status.txt", out)
	code, out, _ = weir(t, "status", "--api", addr, "--json")
	if code != exitOK || !strings.Contains(out, `"jobID": "0123456789abcdef"`) {
		t.Errorf("exit code %d, JSON %s", code, out)
	}
}

func TestOperations(t *testing.T) {
	const path = "/data/savepoints/savepoint-012345-x/"
	tests := map[string]struct {
		args     []string
		request  string
		op       contract.Operation
		wantBody string
		wantCode int
		wantOut  string
		wantErr  string
	}{
		"savepoint": {
			args: []string{"savepoint", "--target", "t"}, request: "POST /v1/savepoints",
			op:       contract.Operation{ID: "x", Phase: contract.OperationSucceeded, Path: path},
			wantBody: `{"operationID":"x","target":"t"}`, wantOut: path + "\n",
		},
		"stop": {
			args: []string{"stop", "--drain"}, request: "POST /v1/stop",
			op:       contract.Operation{ID: "x", Phase: contract.OperationSucceeded, Path: path},
			wantBody: `{"operationID":"x","drain":true}`, wantOut: path + "\n",
		},
		"checkpoint": {
			args: []string{"checkpoint"}, request: "POST /v1/checkpoints",
			op:       contract.Operation{ID: "x", Type: contract.CheckpointOperation, Phase: contract.OperationSucceeded, Checkpoint: 4},
			wantBody: `{"operationID":"x"}`, wantOut: "checkpoint 4 completed\n",
		},
		"cancel": {
			args: []string{"cancel"}, request: "POST /v1/cancel",
			op:       contract.Operation{ID: "x", Type: contract.CancelOperation, Phase: contract.OperationSucceeded},
			wantBody: `{"operationID":"x"}`, wantOut: "cancelled\n",
		},
		"failed": {
			args: []string{"stop"}, request: "POST /v1/stop",
			op:       contract.Operation{ID: "x", Phase: contract.OperationFailed, Error: "a task is gone", Remedy: "try again"},
			wantBody: `{"operationID":"x"}`, wantCode: exitFailed,
			wantErr: "weir: operation x failed: a task is gone (try again)\n",
		},
		"stop failed but the savepoint is there": {
			args: []string{"stop"}, request: "POST /v1/stop",
			op:       contract.Operation{ID: "x", Phase: contract.OperationFailed, Error: "a task is gone", Path: path},
			wantBody: `{"operationID":"x"}`, wantCode: exitFailed,
			wantErr: "weir: operation x failed: a task is gone; the savepoint was written to " + path + "\n",
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			running := contract.Operation{ID: "x", Phase: contract.OperationRunning}
			addr, bodies := fakeAPI(t, map[string]any{tc.request: running, "GET /v1/operations/x": tc.op}, http.StatusOK)
			code, out, errs := weir(t, append(tc.args, "--api", addr, "--operation-id", "x")...)
			if code != tc.wantCode {
				t.Errorf("exit code %d, want %d", code, tc.wantCode)
			}
			if diff := cmp.Diff([]string{tc.wantOut, tc.wantErr, tc.wantBody}, []string{out, errs, bodies[tc.request]}); diff != "" {
				t.Errorf("stdout, stderr, body (-want +got):\n%s", diff)
			}
		})
	}
}

func TestOperation_Refused(t *testing.T) {
	addr, _ := fakeAPI(t, map[string]any{"POST /v1/stop": contract.APIError{Message: "no storage", Remedy: "cancel it"}}, http.StatusConflict)
	code, out, errs := weir(t, "stop", "--api", addr)
	if want := "weir: no storage (cancel it)\n"; code != exitFailed || out != "" || errs != want {
		t.Errorf("exit code %d, stdout %q, stderr %q, want %q", code, out, errs, want)
	}
}

func TestUnreachableAPI(t *testing.T) {
	s := httptest.NewServer(http.NotFoundHandler())
	addr := s.URL
	s.Close()
	code, _, errs := weir(t, "status", "--api", addr)
	if code != exitFailed || !strings.Contains(errs, "calling the control API at "+addr+": nobody listens there") {
		t.Errorf("exit code %d, stderr %q", code, errs)
	}
}

func TestRun_BadFiles(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	tests := map[string]struct{ path, want string }{
		"missing":    {filepath.Join(dir, "none.yaml"), "opening the job file"},
		"no YAML":    {write("a.yaml", "a: [b"), "StreamJob is invalid"},
		"other kind": {write("b.yaml", "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\n"), "must be StreamJob"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			for _, command := range []string{"run", "validate", "config"} {
				code, out, errs := weir(t, command, tc.path)
				if code != exitFailed || out != "" || !strings.Contains(errs, tc.want) {
					t.Errorf("%s: exit code %d, stdout %q, stderr %q, want %q", command, code, out, errs, tc.want)
				}
				if strings.Contains(errs, "Usage:") {
					t.Errorf("%s: the usage is dumped on an error that isn't one of usage", command)
				}
			}
		})
	}
}

func TestValidate_SaysWhatKubernetesLacks(t *testing.T) {
	const text = `
apiVersion: stream.weir.dev/v1alpha1
kind: StreamJob
metadata: {name: j}
spec:
  storage: {volume: {path: /data}}
  dataflow: {operators: [{name: in, generator: {rows: 1}}, {name: out, inputs: [in], log: {}}]}
`
	path := filepath.Join(t.TempDir(), "j.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	code, out, errs := weir(t, "validate", path)
	if code != exitOK || out != path+": StreamJob \"j\" is valid\n" || !strings.HasPrefix(errs, path+": not for Kubernetes as it is: spec.storage.volume.claimName: ") {
		t.Errorf("exit code %d, stdout %q, stderr %q", code, out, errs)
	}
}

func TestVersion(t *testing.T) {
	if code, out, _ := weir(t, "version"); code != exitOK || out != "weir v0\n" {
		t.Errorf("exit code %d, stdout %q", code, out)
	}
}
