// SPDX-License-Identifier: Apache-2.0

package coordinator

import (
	"fmt"
	"testing"
	"time"

	"github.com/weir-stream/weir/runtime/contract"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func TestOperations_SameIDStartsNothingNew(t *testing.T) {
	o := newOperations()
	first, fresh := o.start(submission{id: "a", typ: contract.StopOperation}, noon)
	if !fresh {
		t.Fatal("the first request of an id is not new")
	}
	again, fresh := o.start(submission{id: "a", typ: contract.StopOperation}, noon.Add(time.Second))
	if fresh || again != first {
		t.Errorf("a repeated request gives a new operation")
	}
}

func TestOperations_OnlyTheFirstOutcomeCounts(t *testing.T) {
	o := newOperations()
	op, _ := o.start(submission{id: "a", typ: contract.SavepointOperation}, noon)
	o.end("a", contract.Operation{Phase: contract.OperationSucceeded, Path: "p"}, noon.Add(time.Second))
	o.end("a", contract.Operation{Phase: contract.OperationFailed}, noon.Add(2*time.Second))
	o.endAll(noon.Add(3 * time.Second))
	o.end("other", contract.Operation{Phase: contract.OperationFailed}, noon)
	want := contract.Operation{
		ID: "a", Type: contract.SavepointOperation, Phase: contract.OperationSucceeded, Path: "p",
		StartedAt: noon, EndedAt: noon.Add(time.Second),
	}
	if op.Operation != want {
		t.Errorf("got %+v, want %+v", op.Operation, want)
	}
	select {
	case <-op.done:
	default:
		t.Error("those who wait for the operation aren't told")
	}
}

func TestOperations_EndAllLeavesNobodyWaiting(t *testing.T) {
	o := newOperations()
	op, _ := o.start(submission{id: "a"}, noon)
	o.endAll(noon)
	<-op.done
	if op.Phase != contract.OperationUnknown {
		t.Errorf("phase %s, want %s", op.Phase, contract.OperationUnknown)
	}
}

func TestOperations_ForgetOnlyWhatEnded(t *testing.T) {
	o := newOperations()
	o.start(submission{id: "running"}, noon)
	for i := range maxOperations + 50 {
		id := fmt.Sprint(i)
		o.start(submission{id: id}, noon)
		o.end(id, contract.Operation{Phase: contract.OperationSucceeded}, noon)
	}
	if len(o.byID) > maxOperations+1 || len(o.order) != len(o.byID) {
		t.Errorf("%d operations are remembered, %d in order, want at most %d", len(o.byID), len(o.order), maxOperations+1)
	}
	if o.byID["running"] == nil {
		t.Error("a running operation was forgotten")
	}
}

// TestOperations_ListHidesNothingThatSomebodyWaitsFor shows that newer operations hide neither one that is under way nor one that has just ended.
func TestOperations_ListHidesNothingThatSomebodyWaitsFor(t *testing.T) {
	o := newOperations()
	o.start(submission{id: "running"}, noon)
	o.start(submission{id: "slow"}, noon)
	for i := range 2 * shownOperations {
		id, at := fmt.Sprint(i), noon.Add(time.Duration(i)*time.Second)
		o.start(submission{id: id}, at)
		o.end(id, contract.Operation{Phase: contract.OperationSucceeded}, at)
	}
	o.end("slow", contract.Operation{Phase: contract.OperationSucceeded}, noon.Add(time.Hour))
	list := o.list()
	if len(list) != shownOperations+1 {
		t.Fatalf("%d operations are listed, want %d", len(list), shownOperations+1)
	}
	newest, last := list[0].ID, []string{list[shownOperations-1].ID, list[shownOperations].ID}
	if newest != fmt.Sprint(2*shownOperations-1) || last[0] != "slow" || last[1] != "running" {
		t.Errorf("the list begins with %s and ends with %s", newest, last)
	}
}

func TestFinal_EverybodyHeard(t *testing.T) {
	f := &final{ops: map[string]contract.Operation{"a": {}, "b": {}}}
	f.hear("a")
	all := f.everybody()
	select {
	case <-all:
		t.Fatal("closed before b was heard of")
	default:
	}
	f.hear("b")
	<-all
	f.hear("b")
}

func TestRelative(t *testing.T) {
	tests := map[string]struct {
		path, location string
		want           string
		wantOK         bool
	}{
		"inside a directory":  {"/data/savepoints/s-1", "/data", "savepoints/s-1", true},
		"inside a bucket":     {"s3://b/p/s-1/_metadata", "s3://b/p", "s-1/_metadata", true},
		"relative":            {"savepoints/s-1/", "/data", "savepoints/s-1/", true},
		"another directory":   {"/other/s-1", "/data", "/other/s-1", false},
		"a name that extends": {"/database/s-1", "/data", "/database/s-1", false},
		"another bucket":      {"s3://c/s-1", "s3://b", "s3://c/s-1", false},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			got, ok := Relative(tc.path, tc.location)
			if got != tc.want || ok != tc.wantOK {
				t.Errorf("got %q, %t, want %q, %t", got, ok, tc.want, tc.wantOK)
			}
			if ok && got != tc.path && located(got, tc.location) != tc.path {
				t.Errorf("located gives %q, want %q", located(got, tc.location), tc.path)
			}
		})
	}
}

func TestSubmission_Validate(t *testing.T) {
	tests := map[string]struct {
		s  submission
		ok bool
	}{
		"plain":        {submission{id: "upgrade-7.a_b"}, true},
		"one letter":   {submission{id: "a"}, true},
		"target":       {submission{id: "a", target: "my/savepoints/"}, true},
		"empty":        {submission{}, false},
		"slash":        {submission{id: "a/b"}, false},
		"dots":         {submission{id: ".."}, false},
		"too long":     {submission{id: fmt.Sprintf("%065d", 1)}, false},
		"target above": {submission{id: "a", target: "a/../../b"}, false},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			if err := tc.s.validate(); (err == nil) != tc.ok {
				t.Errorf("got %v, want ok %t", err, tc.ok)
			}
		})
	}
}
