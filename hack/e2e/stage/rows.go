// SPDX-License-Identifier: Apache-2.0

package stage

import (
	"bufio"
	"context"
	"encoding/json"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// RowTimes are the times of the rows that the log sinks of a worker have logged. Safe for concurrent use.
type RowTimes struct {
	began chan struct{}
	ended chan struct{}
	mu    struct {
		sync.Mutex
		first, last time.Time
	}
}

// retryLogs is the time between two tries to follow a log whose container doesn't run yet.
const retryLogs = 20 * time.Millisecond

// silence is how long a log that is followed may show no row at all. A log that is followed from the very moment its container is started
// sometimes stays silent though lines are written; followed anew, it shows them.
const silence = 3 * time.Second

// FollowRows follows the log of a worker pod, from its start until the pod is gone or the context ends.
func (a *Access) FollowRows(ctx context.Context, namespace, pod string) *RowTimes {
	r := &RowTimes{began: make(chan struct{}), ended: make(chan struct{})}
	go func() {
		defer close(r.ended)
		for ctx.Err() == nil {
			err := a.readRows(ctx, namespace, pod, r)
			if (err == nil || apierrors.IsNotFound(err)) && a.hasEnded(ctx, namespace, pod) { // a kubelet may not know the pod yet
				return
			}
			time.Sleep(retryLogs) // it doesn't run yet, or its log was cut off
		}
	}()
	return r
}

// readRows follows the log once. It begins with the first line each time.
func (a *Access) readRows(ctx context.Context, namespace, pod string, r *RowTimes) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	silent := time.AfterFunc(silence, func() {
		if r.First().IsZero() {
			cancel()
		}
	})
	defer silent.Stop()
	log, err := a.client.CoreV1().Pods(namespace).GetLogs(pod, &corev1.PodLogOptions{Follow: true}).Stream(ctx)
	if err != nil {
		return err
	}
	defer log.Close()
	for sc := bufio.NewScanner(log); sc.Scan(); {
		r.add(sc.Bytes())
	}
	return nil
}

// hasEnded says that nothing more can come from a pod.
func (a *Access) hasEnded(ctx context.Context, namespace, pod string) bool {
	p, err := a.client.CoreV1().Pods(namespace).Get(ctx, pod, metav1.GetOptions{})
	if err != nil {
		return apierrors.IsNotFound(err)
	}
	return p.DeletionTimestamp != nil && !slices.ContainsFunc(p.Status.ContainerStatuses, func(s corev1.ContainerStatus) bool {
		return s.State.Running != nil
	})
}

func (r *RowTimes) add(line []byte) {
	var entry struct {
		Time time.Time
		Msg  string
	}
	if json.Unmarshal(line, &entry) != nil || entry.Msg != "Row" {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.mu.first.IsZero() {
		r.mu.first = entry.Time
		close(r.began)
	}
	if entry.Time.After(r.mu.last) {
		r.mu.last = entry.Time
	}
}

// Began is closed with the first row.
func (r *RowTimes) Began() <-chan struct{} { return r.began }

// Ended is closed when the log has ended.
func (r *RowTimes) Ended() <-chan struct{} { return r.ended }

// First is the time of the first row; zero when there is none.
func (r *RowTimes) First() time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.mu.first
}

// Last is the time of the newest row; zero when there is none.
func (r *RowTimes) Last() time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.mu.last
}
