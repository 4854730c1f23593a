// SPDX-License-Identifier: Apache-2.0

package fairqueue

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

const limit = 2

// endedOnce may be shut down more than once.
type endedOnce struct {
	priorityqueue.PriorityQueue[reconcile.Request]
	once sync.Once
}

func (q *endedOnce) ShutDown() { q.once.Do(q.PriorityQueue.ShutDown) }

func newQueue(t *testing.T) priorityqueue.PriorityQueue[reconcile.Request] {
	t.Helper()
	limiter := workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](time.Millisecond, time.Second)
	q, ok := New(limit)("test", limiter).(priorityqueue.PriorityQueue[reconcile.Request])
	if !ok {
		t.Fatal("controllers would not know its priorities")
	}
	once := &endedOnce{PriorityQueue: q}
	t.Cleanup(once.ShutDown)
	return once
}

func request(namespace string, i int) reconcile.Request {
	return reconcile.Request{NamespacedName: types.NamespacedName{Namespace: namespace, Name: fmt.Sprint(i)}}
}

// taken hands out what is taken from the queue, by a worker of its own that never waits for the work.
func taken(q priorityqueue.PriorityQueue[reconcile.Request]) <-chan reconcile.Request {
	c := make(chan reconcile.Request, 100)
	go func() {
		defer close(c)
		for {
			r, _, shutdown := q.GetWithPriority()
			if shutdown {
				return
			}
			c <- r
		}
	}()
	return c
}

// want wants exactly these to be handed out by now.
func want(t *testing.T, c <-chan reconcile.Request, want ...reconcile.Request) {
	t.Helper()
	synctest.Wait()
	for _, w := range want {
		select {
		case got := <-c:
			if got != w {
				t.Errorf("got %v, want %v", got, w)
			}
		default:
			t.Errorf("got nothing, want %v", w)
		}
	}
	select {
	case got, open := <-c:
		if open {
			t.Errorf("got %v besides", got)
		}
	default:
	}
}

func TestQueue_HoldsBackOnlyTheNamespaceAtItsLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(t)
		for i := range 4 {
			q.Add(request("greedy", i))
			synctest.Wait()
		}
		q.Add(request("modest", 0))
		c := taken(q)
		want(t, c, request("greedy", 0), request("greedy", 1), request("modest", 0))
		q.Done(request("modest", 0))
		want(t, c)
		q.Done(request("greedy", 1))
		want(t, c, request("greedy", 2))
		q.Done(request("greedy", 0))
		want(t, c, request("greedy", 3))
		q.Done(request("greedy", 2))
		q.Done(request("greedy", 3))
		want(t, c)
	})
}

func TestQueue_HandsOutWhatChangesWhileItWaitsOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(t)
		for i := range limit + 1 {
			q.Add(request("n", i))
			synctest.Wait()
		}
		c := taken(q)
		want(t, c, request("n", 0), request("n", 1))
		q.Add(request("n", limit))
		q.AddAfter(request("n", limit), time.Second)
		time.Sleep(2 * time.Second)
		want(t, c)
		q.Done(request("n", 0))
		want(t, c, request("n", limit))
		q.Done(request("n", limit))
		q.Done(request("n", 1))
		want(t, c)
	})
}

func TestQueue_KeepsPriorities(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(t)
		low, high := -100, 100
		for i := range limit {
			q.AddWithOpts(priorityqueue.AddOpts{Priority: &high}, request("n", i))
			synctest.Wait()
		}
		q.AddWithOpts(priorityqueue.AddOpts{Priority: &low}, request("n", limit))
		for range limit {
			if _, p, _ := q.GetWithPriority(); p != high {
				t.Errorf("got priority %d, want %d", p, high)
			}
		}
		c := make(chan int)
		go func() {
			_, p, _ := q.GetWithPriority()
			c <- p
		}()
		synctest.Wait()
		q.Done(request("n", 0))
		if p := <-c; p != low {
			t.Errorf("after it waited it has priority %d, want %d", p, low)
		}
	})
}

// At its start a controller is given all objects with a low priority. What changes then goes before those that wait aside, whether it waits there itself or not.
func TestQueue_TakesBackTheHighestPriorityFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const many = 20
		q := newQueue(t)
		low := -100
		for i := range many {
			q.AddWithOpts(priorityqueue.AddOpts{Priority: &low}, request("n", i))
			synctest.Wait()
		}
		c := taken(q)
		want(t, c, request("n", 0), request("n", 1))
		q.Add(request("n", many-1))
		synctest.Wait()
		q.Add(request("n", many))
		synctest.Wait()
		for _, next := range []reconcile.Request{request("n", many-1), request("n", many), request("n", 2), request("n", 3)} {
			q.Done(request("n", 0)) // which of them ends is all one
			want(t, c, next)
		}
	})
}

func TestQueue_EndsWhileSomethingWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(t)
		for i := range limit + 1 {
			q.Add(request("n", i))
		}
		c := taken(q)
		synctest.Wait()
		q.ShutDown()
		n := 0
		for range c {
			n++
		}
		if n != limit {
			t.Errorf("%d were handed out, want %d", n, limit)
		}
		q.Done(request("n", 0))
	})
}

// Workers take, work and put back at random: each change is worked on after it, no object by two workers, and no namespace by more than its limit.
func TestQueue_Random(t *testing.T) {
	const namespaces, objects, workers, changes = 3, 5, 6, 3000
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(t)
		var changed, seen [namespaces][objects]atomic.Int64
		var busy [namespaces]atomic.Int64
		var owned [namespaces][objects]atomic.Bool
		var running sync.WaitGroup
		for w := range workers {
			running.Go(func() {
				rnd := rand.New(rand.NewPCG(seed, uint64(w)))
				for {
					r, _, shutdown := q.GetWithPriority()
					if shutdown {
						return
					}
					var n, o int
					if _, err := fmt.Sscan(r.Namespace, &n); err != nil {
						t.Error(err)
					}
					if _, err := fmt.Sscan(r.Name, &o); err != nil {
						t.Error(err)
					}
					if got := busy[n].Add(1); got > limit {
						t.Errorf("%d of one namespace are worked on", got)
					}
					if owned[n][o].Swap(true) {
						t.Errorf("%v is worked on twice at once", r)
					}
					seen[n][o].Store(changed[n][o].Load())
					time.Sleep(time.Duration(rnd.IntN(5)) * time.Millisecond)
					owned[n][o].Store(false)
					busy[n].Add(-1)
					if rnd.IntN(10) == 0 {
						q.AddRateLimited(r)
					} else {
						q.Forget(r)
					}
					q.Done(r)
				}
			})
		}
		rnd := rand.New(rand.NewPCG(seed, workers))
		for range changes {
			n, o := rnd.IntN(namespaces)*rnd.IntN(2), rnd.IntN(objects)
			changed[n][o].Add(1)
			q.Add(request(fmt.Sprint(n), o))
			if rnd.IntN(3) == 0 {
				time.Sleep(time.Millisecond)
			}
		}
		time.Sleep(time.Minute)
		for n := range namespaces {
			for o := range objects {
				if c, s := changed[n][o].Load(), seen[n][o].Load(); c != s {
					t.Errorf("object %d of namespace %d: change %d was worked on last, of %d", o, n, s, c)
				}
			}
		}
		q.ShutDown()
		running.Wait()
	})
}
