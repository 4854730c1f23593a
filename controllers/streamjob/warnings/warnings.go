// SPDX-License-Identifier: Apache-2.0

package warnings

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/weir-stream/weir/controllers/streamjob/observe"
)

const (
	// every is how often the warnings of a namespace are read at most.
	every = 5 * time.Second
	// most is how many warnings of a namespace are read at a time.
	most = 1000
	// forgetAfter is how long the warnings of a namespace are kept that nobody asks for.
	forgetAfter = 10 * time.Minute
)

// Reader reads the warnings about the pods of namespaces. It is safe for concurrent use.
type Reader struct {
	// API is where events are listed; they are not cached.
	API client.Reader
	// Clock is what time it is.
	Clock clock.PassiveClock

	mu   sync.Mutex
	read map[string]reading
}

// reading is what was read of a namespace, and when.
type reading struct {
	at     time.Time
	events []eventsv1.Event
}

// About returns the warnings that are needed to tell what becomes of pods of a namespace: none unless one waits for its node. again is when to look once more
// though nothing changes; 0: no need to. That they can't be read is logged and no reason to stop: a pod that will never start counts then as one that waits.
func (r *Reader) About(ctx context.Context, namespace string, pods []corev1.Pod) (found []eventsv1.Event, again time.Duration) {
	wants, again := observe.WantsWarnings(pods, r.Clock.Now())
	if !wants {
		return nil, again
	}
	found, err := r.Of(ctx, namespace)
	if err != nil {
		logr.FromContextOrDiscard(ctx).Info("Not knowing what Kubernetes says about pods that are not started", "reason", err.Error())
	}
	return found, again
}

// Of returns the warnings about the pods of a namespace, as they were at most five seconds ago. While somebody else reads them it returns what was read before
// that, which may be nothing. The events must not be changed. An error is told once to whoever read.
func (r *Reader) Of(ctx context.Context, namespace string) ([]eventsv1.Event, error) {
	events, due := r.begin(namespace)
	if !due {
		return events, nil
	}
	list := &eventsv1.EventList{}
	err := r.API.List(ctx, list, client.InNamespace(namespace), client.Limit(most), client.MatchingFieldsSelector{Selector: fields.AndSelectors(
		fields.OneTermEqualSelector("regarding.kind", "Pod"), fields.OneTermEqualSelector("type", corev1.EventTypeWarning),
	)})
	if err != nil {
		return events, fmt.Errorf("reading the warnings of namespace %s: %w", namespace, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.read[namespace] = reading{at: r.read[namespace].at, events: list.Items}
	return list.Items, nil
}

// begin returns what is known, and whether it is to be read now.
func (r *Reader) begin(namespace string) (known []eventsv1.Event, due bool) {
	now := r.Clock.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.read == nil {
		r.read = map[string]reading{}
	}
	before, ok := r.read[namespace]
	if ok && now.Sub(before.at) < every {
		return before.events, false
	}
	for ns, other := range r.read {
		if now.Sub(other.at) >= forgetAfter {
			delete(r.read, ns)
		}
	}
	r.read[namespace] = reading{at: now, events: before.events}
	return before.events, true
}
