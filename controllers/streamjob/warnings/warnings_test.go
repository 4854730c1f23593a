// SPDX-License-Identifier: Apache-2.0

package warnings

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	eventsv1 "k8s.io/api/events/v1"
	testclock "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// api answers each list with one event, whose note says the how manieth it is.
type api struct {
	client.Reader
	asked []string
	err   error
	// during is called while a list is on its way.
	during func()
}

func (a *api) List(_ context.Context, list client.ObjectList, options ...client.ListOption) error {
	o := (&client.ListOptions{}).ApplyOptions(options)
	a.asked = append(a.asked, fmt.Sprintf("%s %s %d", o.Namespace, o.FieldSelector, o.Limit))
	if a.during != nil {
		a.during()
	}
	list.(*eventsv1.EventList).Items = []eventsv1.Event{{Note: fmt.Sprint(len(a.asked))}}
	return a.err
}

func notes(events []eventsv1.Event) (out []string) {
	for _, e := range events {
		out = append(out, e.Note)
	}
	return out
}

func TestReader_ReadsOnceForAllJobsOfANamespace(t *testing.T) {
	a, clock := &api{}, testclock.NewFakePassiveClock(time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC))
	r := &Reader{API: a, Clock: clock}
	var got []string
	ask := func(namespace string, later time.Duration) {
		t.Helper()
		clock.SetTime(clock.Now().Add(later))
		events, err := r.Of(t.Context(), namespace)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, notes(events)...)
	}
	ask("a", 0)
	ask("a", time.Second)
	ask("b", 0)
	ask("a", 3900*time.Millisecond)
	ask("a", 100*time.Millisecond)
	ask("b", forgetAfter)
	if diff := cmp.Diff([]string{"1", "1", "2", "1", "3", "4"}, got); diff != "" {
		t.Errorf("answers (-want +got):\n%s", diff)
	}
	const of = " regarding.kind=Pod,type=Warning 1000"
	if diff := cmp.Diff([]string{"a" + of, "b" + of, "a" + of, "b" + of}, a.asked); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
	if len(r.read) != 1 {
		t.Errorf("%d namespaces are remembered, want only the one that is asked for", len(r.read))
	}
}

func TestReader_AnswersWhatItKnowsWhileItReads(t *testing.T) {
	clock := testclock.NewFakePassiveClock(time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC))
	a := &api{}
	r := &Reader{API: a, Clock: clock}
	var meanwhile [][]string
	a.during = func() {
		events, err := r.Of(t.Context(), "a")
		if err != nil {
			t.Error(err)
		}
		meanwhile = append(meanwhile, notes(events))
	}
	for range 2 {
		if _, err := r.Of(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
		clock.SetTime(clock.Now().Add(every))
	}
	if diff := cmp.Diff([][]string{nil, {"1"}}, meanwhile); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestReader_KeepsWhatItKnowsWhenItMayNotRead(t *testing.T) {
	a, clock := &api{}, testclock.NewFakePassiveClock(time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC))
	r := &Reader{API: a, Clock: clock}
	if _, err := r.Of(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	clock.SetTime(clock.Now().Add(every))
	a.err = errors.New("forbidden")
	events, err := r.Of(t.Context(), "a")
	if !errors.Is(err, a.err) || len(events) != 1 || events[0].Note != "1" {
		t.Errorf("got %v, %v", notes(events), err)
	}
	if _, err := r.Of(t.Context(), "a"); err != nil || len(a.asked) != 2 {
		t.Errorf("asked %d times, %v: want the refusal to be told once", len(a.asked), err)
	}
}
