// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e_test

import (
	"context"
	"slices"

	eventsv1 "k8s.io/api/events/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// eventsOf lists the events of the namespace that have a reason.
func (s *scenario) eventsOf(ctx context.Context, reason string) ([]eventsv1.Event, error) {
	list := &eventsv1.EventList{}
	err := suite.client.List(ctx, list, client.InNamespace(s.ns))
	return slices.DeleteFunc(list.Items, func(e eventsv1.Event) bool { return e.Reason != reason }), err
}

// events are the texts of those of a job with a reason.
func (s *scenario) events(job, reason string) (notes []string) {
	s.Helper()
	all, err := s.eventsOf(s.Context(), reason)
	if err != nil {
		s.Fatalf("listing the events of job %s: %v", job, err)
	}
	for i := range all {
		if all[i].Regarding.Name == job {
			notes = append(notes, all[i].Note)
		}
	}
	return notes
}
