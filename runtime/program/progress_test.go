// SPDX-License-Identifier: Apache-2.0

package program

import (
	"bytes"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-stream/weir/runtime/contract"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func status(change func(s *contract.JobStatus)) *contract.JobStatus {
	s := &contract.JobStatus{State: contract.JobRunning, Attempt: "1-1-1", RecordsIn: 5000, RecordsOut: 4000, MeasuredAt: noon}
	if change != nil {
		change(s)
	}
	return s
}

func TestProgressLine(t *testing.T) {
	tests := map[string]struct {
		before, now *contract.JobStatus
		want        string
	}{
		"first": {nil, status(nil), "running  in 5,000  out 4,000  no checkpoint yet"},
		"with a rate": {
			status(nil),
			status(func(s *contract.JobStatus) { s.RecordsIn, s.MeasuredAt = 2_005_000, noon.Add(2*time.Second) }),
			"running  in 2,005,000  out 4,000  1.00M/s  no checkpoint yet",
		},
		"another attempt has no rate": {
			status(func(s *contract.JobStatus) { s.Attempt = "1-1-0" }),
			status(func(s *contract.JobStatus) { s.MeasuredAt, s.Restarts = noon.Add(time.Second), 1 }),
			"running  in 5,000  out 4,000  no checkpoint yet  1 restart",
		},
		"checkpoint": {
			nil,
			status(func(s *contract.JobStatus) {
				s.LastCheckpoint = &contract.SnapshotInfo{ID: 7, CompletedAt: noon.Add(-1500 * time.Millisecond), SizeBytes: 2048, DurationMillis: 12}
			}),
			"running  in 5,000  out 4,000  checkpoint 7 1.5s ago, 2.0 KiB in 12ms",
		},
		"checkpoint of a coordinator before": {
			nil,
			status(func(s *contract.JobStatus) {
				s.LastCheckpoint = &contract.SnapshotInfo{ID: 7, CompletedAt: noon.Add(-1500 * time.Millisecond), SizeBytes: 2048}
			}),
			"running  in 5,000  out 4,000  checkpoint 7 1.5s ago, 2.0 KiB",
		},
		"waiting": {
			nil,
			&contract.JobStatus{State: contract.JobWaiting, SlotsNeeded: 2, SlotsOffered: 1},
			"waiting for workers (1 of 2 slots)  in 0  out 0  no checkpoint yet",
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, progressLine(tc.before, tc.now)); diff != "" {
				t.Errorf("line (-want +got):\n%s", diff)
			}
		})
	}
}

func TestProgress_SaysWhatHappened(t *testing.T) {
	var out bytes.Buffer
	p := &progress{out: &out}
	p.show(status(nil))
	failed := &contract.Failure{At: noon, Message: "the worker is lost", Task: "count/1"}
	p.show(status(func(s *contract.JobStatus) { s.State, s.LastFailure = contract.JobRestarting, failed }))
	p.show(status(func(s *contract.JobStatus) {
		s.LastFailure, s.Attempt, s.RecordsIn, s.RecordsOut = failed, "1-1-2", 0, 0
		s.RestoredFrom = &contract.SnapshotInfo{ID: 3, Path: "/data/chk-3/"}
	}))
	for range 2 {
		p.show(status(func(s *contract.JobStatus) { s.Message = "waiting for storage: the disk is full" }))
	}
	want := `running  in 5,000  out 4,000  no checkpoint yet
failure in task count/1: the worker is lost
restarting  in 5,000  out 4,000  no checkpoint yet
restored from /data/chk-3/
running  in 0  out 0  no checkpoint yet
waiting for storage: the disk is full
running  in 5,000  out 4,000  no checkpoint yet
running  in 5,000  out 4,000  no checkpoint yet
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("output (-want +got):\n%s", diff)
	}
}

func TestProgress_OverwritesOnATerminal(t *testing.T) {
	var out bytes.Buffer
	p := &progress{out: &out, terminal: true}
	p.show(status(nil))
	p.show(&contract.JobStatus{State: contract.JobRunning, MeasuredAt: noon})
	p.notef("bye")
	want := "\rrunning  in 5,000  out 4,000  no checkpoint yet" +
		"\rrunning  in 0  out 0  no checkpoint yet        " + "\nbye\n"
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("output (-want +got):\n%s", diff)
	}
}

// TestProgress_SaysWhatComesUp prints a warning once, when it comes up; those that are there from the start follow from the configuration.
func TestProgress_SaysWhatComesUp(t *testing.T) {
	var out bytes.Buffer
	p := &progress{out: &out}
	p.show(status(func(s *contract.JobStatus) { s.Warnings = []string{"no storage"} }))
	for range 2 {
		p.show(status(func(s *contract.JobStatus) { s.Warnings = []string{"no storage", "checkpoint 3 was left out"} }))
	}
	want := `running  in 5,000  out 4,000  no checkpoint yet
warning: checkpoint 3 was left out
running  in 5,000  out 4,000  no checkpoint yet
running  in 5,000  out 4,000  no checkpoint yet
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("output (-want +got):\n%s", diff)
	}
}
