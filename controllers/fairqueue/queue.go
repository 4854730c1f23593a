// SPDX-License-Identifier: Apache-2.0

package fairqueue

import (
	"slices"
	"sync"

	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// Constructor makes the queue of a controller, as [sigs.k8s.io/controller-runtime/pkg/controller.Options] want it.
type Constructor = func(name string, limiter workqueue.TypedRateLimiter[reconcile.Request]) workqueue.TypedRateLimitingInterface[reconcile.Request]

// New returns what makes queues that have at most limit objects of one namespace worked on at once; nil, for the queue that controllers have anyway, if limit is less than 1.
func New(limit int) Constructor {
	if limit < 1 {
		return nil
	}
	return func(name string, limiter workqueue.TypedRateLimiter[reconcile.Request]) workqueue.TypedRateLimitingInterface[reconcile.Request] {
		inner := priorityqueue.New(name, func(o *priorityqueue.Opts[reconcile.Request]) { o.RateLimiter = limiter })
		return &queue{PriorityQueue: inner, limit: limit, busy: map[string]int{}, aside: map[string][]waiting{}}
	}
}

// waiting is an object that waits until fewer of its namespace are worked on.
type waiting struct {
	request  reconcile.Request
	priority int
}

// queue is safe for concurrent use.
type queue struct {
	priorityqueue.PriorityQueue[reconcile.Request]
	limit int

	mu sync.Mutex
	// busy counts what is worked on, by namespace, and aside has what waits; neither has empty entries.
	busy  map[string]int
	aside map[string][]waiting
}

// GetWithPriority waits for the next object that may be worked on.
func (q *queue) GetWithPriority() (reconcile.Request, int, bool) {
	for {
		request, priority, shutdown := q.PriorityQueue.GetWithPriority()
		if shutdown || q.begin(request, priority) {
			return request, priority, shutdown
		}
	}
}

// Get is GetWithPriority for those who don't ask for the priority.
func (q *queue) Get() (reconcile.Request, bool) {
	request, _, shutdown := q.GetWithPriority()
	return request, shutdown
}

// Add is AddWithOpts without any.
func (q *queue) Add(r reconcile.Request) { q.AddWithOpts(priorityqueue.AddOpts{}, r) }

// AddWithOpts adds objects. One that waits aside is taken back by the higher of its priorities.
func (q *queue) AddWithOpts(o priorityqueue.AddOpts, requests ...reconcile.Request) {
	if o.After == 0 && !o.RateLimited {
		q.raise(ptr.Deref(o.Priority, 0), requests)
	}
	q.PriorityQueue.AddWithOpts(o, requests...)
}

func (q *queue) raise(priority int, requests []reconcile.Request) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, r := range requests {
		list := q.aside[r.Namespace]
		if i := slices.IndexFunc(list, func(w waiting) bool { return w.request == r }); i >= 0 {
			list[i].priority = max(list[i].priority, priority)
		}
	}
}

// begin counts a request, or puts it aside.
func (q *queue) begin(r reconcile.Request, priority int) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.busy[r.Namespace] >= q.limit {
		q.aside[r.Namespace] = append(q.aside[r.Namespace], waiting{r, priority})
		return false
	}
	q.busy[r.Namespace]++
	return true
}

// Done ends the work on an object, and takes the next of its namespace back.
func (q *queue) Done(r reconcile.Request) {
	q.PriorityQueue.Done(r)
	next, ok := q.end(r.Namespace)
	if !ok {
		return
	}
	// First added, then done: the other way round another worker could be given what was added of it meanwhile, and this one once more.
	q.PriorityQueue.AddWithOpts(priorityqueue.AddOpts{Priority: &next.priority}, next.request)
	q.PriorityQueue.Done(next.request)
}

// end counts the end of the work on an object, and returns what has waited for it.
func (q *queue) end(namespace string) (next waiting, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.busy[namespace]--; q.busy[namespace] == 0 {
		delete(q.busy, namespace)
	}
	list := q.aside[namespace]
	if len(list) == 0 {
		return waiting{}, false
	}
	first := 0 // of those with the highest priority
	for i := range list {
		if list[i].priority > list[first].priority {
			first = i
		}
	}
	next = list[first]
	if q.aside[namespace] = slices.Delete(list, first, first+1); len(list) == 1 {
		delete(q.aside, namespace)
	}
	return next, true
}
