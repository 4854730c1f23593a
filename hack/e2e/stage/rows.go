// SPDX-License-Identifier: Apache-2.0

package stage

import (
	"bufio"
	"context"
	"encoding/json"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
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

// FollowRows follows the log of a worker pod, from its start until it ends or the context does.
func (a *Access) FollowRows(ctx context.Context, namespace, pod string) *RowTimes {
	r := &RowTimes{began: make(chan struct{}), ended: make(chan struct{})}
	go func() {
		defer close(r.ended)
		for ctx.Err() == nil {
			log, err := a.client.CoreV1().Pods(namespace).GetLogs(pod, &corev1.PodLogOptions{Follow: true}).Stream(ctx)
			if err != nil { // it doesn't run yet
				time.Sleep(retryLogs)
				continue
			}
			for sc := bufio.NewScanner(log); sc.Scan(); {
				r.add(sc.Bytes())
			}
			_ = log.Close()
			return
		}
	}()
	return r
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
	r.mu.last = entry.Time
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
