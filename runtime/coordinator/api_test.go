// SPDX-License-Identifier: Apache-2.0

package coordinator

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"

	"github.com/weir-stream/weir/runtime/contract"
)

// fakeControl answers from its fields and remembers what was submitted.
type fakeControl struct {
	job       contract.JobStatus
	history   contract.CheckpointsReport
	detail    contract.CheckpointDetail
	op        contract.Operation
	err       error
	submitted []submission
	policies  []contract.Policy
	activated []contract.ActivateRequest
	waited    time.Duration
}

func (f *fakeControl) status(context.Context) (*contract.JobStatus, error) { return &f.job, f.err }

func (f *fakeControl) checkpoints(context.Context) (*contract.CheckpointsReport, error) {
	return &f.history, f.err
}

func (f *fakeControl) checkpoint(_ context.Context, id int64) (*contract.CheckpointDetail, error) {
	f.detail.ID = id
	return &f.detail, f.err
}

func (f *fakeControl) submit(_ context.Context, s submission) (contract.Operation, error) {
	f.submitted = append(f.submitted, s)
	return f.op, f.err
}

func (f *fakeControl) operation(_ context.Context, _ string, wait time.Duration) (contract.Operation, error) {
	f.waited = wait
	return f.op, f.err
}

func (f *fakeControl) setPolicy(_ context.Context, p contract.Policy) (contract.Policy, error) {
	f.policies = append(f.policies, p)
	return p, f.err
}

func (f *fakeControl) activate(_ context.Context, r contract.ActivateRequest) (contract.Activation, error) {
	f.activated = append(f.activated, r)
	return contract.Activation(r), f.err
}

func serve(t *testing.T, f *fakeControl) (*contract.Client, string) {
	t.Helper()
	s := httptest.NewServer(newAPIServer(f, newMetrics(f, "default", "test").handler(), nil, logr.Discard()).Handler)
	t.Cleanup(s.Close)
	c, err := contract.NewClient(s.URL, contract.ClientOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c, s.URL
}

func TestAPI_Operations(t *testing.T) {
	tests := map[string]struct {
		call func(ctx context.Context, c *contract.Client) (*contract.Operation, error)
		want submission
	}{
		"checkpoint": {
			call: func(ctx context.Context, c *contract.Client) (*contract.Operation, error) {
				return c.Checkpoint(ctx, contract.CheckpointRequest{OperationID: "a"})
			},
			want: submission{id: "a", typ: contract.CheckpointOperation},
		},
		"savepoint": {
			call: func(ctx context.Context, c *contract.Client) (*contract.Operation, error) {
				return c.Savepoint(ctx, contract.SavepointRequest{OperationID: "a", Target: "t"})
			},
			want: submission{id: "a", typ: contract.SavepointOperation, target: "t"},
		},
		"stop": {
			call: func(ctx context.Context, c *contract.Client) (*contract.Operation, error) {
				return c.Stop(ctx, contract.StopRequest{OperationID: "a", Target: "t", Drain: true, Timeout: contract.Duration(time.Second)})
			},
			want: submission{id: "a", typ: contract.StopOperation, target: "t", drain: true, timeout: time.Second},
		},
		"cancel": {
			call: func(ctx context.Context, c *contract.Client) (*contract.Operation, error) {
				return c.Cancel(ctx, contract.CancelRequest{OperationID: "a", Savepoint: true, Target: "t"})
			},
			want: submission{id: "a", typ: contract.CancelOperation, savepoint: true, target: "t"},
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			f := &fakeControl{op: contract.Operation{ID: "a", Phase: contract.OperationRunning}}
			c, _ := serve(t, f)
			op, err := tc.call(t.Context(), c)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(f.op, *op); diff != "" {
				t.Errorf("operation (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff([]submission{tc.want}, f.submitted, cmp.AllowUnexported(submission{})); diff != "" {
				t.Errorf("submitted (-want +got):\n%s", diff)
			}
		})
	}
}

func TestAPI_WaitIsBounded(t *testing.T) {
	f := &fakeControl{op: contract.Operation{ID: "a", Phase: contract.OperationSucceeded}}
	c, _ := serve(t, f)
	if _, err := c.Operation(t.Context(), "a", time.Hour); err != nil {
		t.Fatal(err)
	}
	if f.waited != contract.MaxWait {
		t.Errorf("waited %v, want %v", f.waited, contract.MaxWait)
	}
}

func TestAPI_BadRequests(t *testing.T) {
	tests := map[string]struct {
		method, path, body string
		wantStatus         int
		wantText           string
	}{
		"no endpoint":       {"GET", "/v2/job", "", 404, "has no GET /v2/job"},
		"wrong method":      {"DELETE", contract.PathJob, "", 404, "has no DELETE"},
		"no JSON":           {"POST", contract.PathStop, "stop", 400, "can't be read"},
		"unknown field":     {"POST", contract.PathStop, `{"operation":"a"}`, 400, "unknown field"},
		"too large":         {"POST", contract.PathStop, `{"operationID":"` + strings.Repeat("a", contract.MaxRequestBytes) + `"}`, 413, "larger than"},
		"wait":              {"GET", contract.PathOperations + "/a?wait=x", "", 400, "not a duration"},
		"negative wait":     {"GET", contract.PathOperations + "/a?wait=-1s", "", 400, "not a duration"},
		"target of nothing": {"POST", contract.PathCancel, `{"operationID":"a","target":"t"}`, 400, "no savepoint"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			f := &fakeControl{}
			_, url := serve(t, f)
			req, err := http.NewRequestWithContext(t.Context(), tc.method, url+tc.path, strings.NewReader(tc.body))
			if err != nil {
				t.Fatal(err)
			}
			res, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = res.Body.Close() }()
			b, err := io.ReadAll(res.Body)
			if err != nil {
				t.Fatal(err)
			}
			if res.StatusCode != tc.wantStatus || !strings.Contains(string(b), tc.wantText) {
				t.Errorf("got %d %s, want %d with %q", res.StatusCode, b, tc.wantStatus, tc.wantText)
			}
			if len(f.submitted) > 0 {
				t.Errorf("submitted %v, want nothing", f.submitted)
			}
		})
	}
}

func TestAPI_ErrorsKeepCauseAndRemedy(t *testing.T) {
	want := &contract.APIError{Status: 409, Message: "cause", Remedy: "remedy"}
	c, _ := serve(t, &fakeControl{err: want})
	_, err := c.Job(t.Context())
	got, ok := errors.AsType[*contract.APIError](err)
	if !ok {
		t.Fatalf("got %v, want an APIError", err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("error (-want +got):\n%s", diff)
	}
}

func TestAPI_HealthAndReadiness(t *testing.T) {
	f := &fakeControl{job: contract.JobStatus{State: contract.JobStarting}}
	_, url := serve(t, f)
	for _, step := range []struct {
		path    string
		state   contract.JobState
		standby *contract.StandbyReport
		want    int
	}{
		{contract.PathHealth, contract.JobStarting, nil, 200},
		{contract.PathLive, contract.JobStarting, nil, 200},
		{contract.PathReady, contract.JobStarting, nil, 503},
		{contract.PathReady, contract.JobWaiting, nil, 200},
		{contract.PathReady, contract.JobStandby, &contract.StandbyReport{}, 503},
		{contract.PathReady, contract.JobStandby, &contract.StandbyReport{Ready: true}, 200},
	} {
		f.job.State, f.job.Standby = step.state, step.standby
		if code, _ := get(t, url+step.path); code != step.want {
			t.Errorf("%s while %s answers %d, want %d", step.path, step.state, code, step.want)
		}
	}
}

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(b)
}

func TestAPI_Metrics(t *testing.T) {
	f := &fakeControl{
		job: contract.JobStatus{
			State: contract.JobRunning, Restarts: 3, RecordsIn: 10, RecordsOut: 7, SlotsNeeded: 2, SlotsOffered: 4,
			Workers:        []contract.WorkerReport{{Name: "w"}},
			LastCheckpoint: &contract.SnapshotInfo{ID: 5, SizeBytes: 100, DurationMillis: 1500, CompletedAt: time.UnixMilli(2500)},
		},
		history: contract.CheckpointsReport{Completed: 4, Failed: 1, InFlight: 1},
	}
	_, url := serve(t, f)
	_, body := get(t, url+contract.PathMetrics)
	for _, want := range []string{
		`weir_job_state{job="test",namespace="default",state="Running"} 1`,
		`weir_job_state{job="test",namespace="default",state="Failed"} 0`,
		`weir_job_restarts_total{job="test",namespace="default"} 3`,
		`weir_source_records{job="test",namespace="default"} 10`,
		`weir_sink_records{job="test",namespace="default"} 7`,
		`weir_slots{job="test",kind="needed",namespace="default"} 2`,
		`weir_slots{job="test",kind="offered",namespace="default"} 4`,
		`weir_workers{job="test",namespace="default"} 1`,
		`weir_checkpoints_total{job="test",namespace="default",outcome="completed"} 4`,
		`weir_checkpoints_total{job="test",namespace="default",outcome="failed"} 1`,
		`weir_checkpoints_in_flight{job="test",namespace="default"} 1`,
		`weir_last_checkpoint_id{job="test",namespace="default"} 5`,
		`weir_last_checkpoint_duration_seconds{job="test",namespace="default"} 1.5`,
		`weir_last_checkpoint_size_bytes{job="test",namespace="default"} 100`,
		`weir_last_checkpoint_completed_timestamp_seconds{job="test",namespace="default"} 2.5`,
	} {
		if !strings.Contains(body, want+"\n") {
			t.Errorf("the metrics lack %s", want)
		}
	}
}
