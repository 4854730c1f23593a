// SPDX-License-Identifier: Apache-2.0

package task

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-stream/weir/runtime/protocol"
)

func TestWorkload_TellsWorkFromWaiting(t *testing.T) {
	t.Parallel()
	at := func(s int) time.Time { return time.Unix(int64(s), 0) }
	var w workload
	w.pause(at(0), true)
	w.resume(at(5))
	want := func(s int, want protocol.Load) {
		t.Helper()
		if diff := cmp.Diff(want, w.load(at(s))); diff != "" {
			t.Errorf("load at %d (-want +got):\n%s", s, diff)
		}
	}
	want(7, protocol.Load{}) // before it is open nothing counts
	w.open(at(10))
	w.pause(at(11), false)
	want(13, protocol.Load{Time: 3 * time.Second, Idle: 2 * time.Second}) // a wait counts while it lasts
	w.resume(at(14))
	w.pause(at(15), true)
	want(16, protocol.Load{Time: 6 * time.Second, Idle: 3 * time.Second, Blocked: time.Second})
	w.resume(at(20))
	want(22, protocol.Load{Time: 12 * time.Second, Idle: 3 * time.Second, Blocked: 5 * time.Second})
	if diff := cmp.Diff(protocol.Load{Time: 6 * time.Second, Blocked: 4 * time.Second},
		since(w.load(at(22)), protocol.Load{Time: 6 * time.Second, Idle: 3 * time.Second, Blocked: time.Second})); diff != "" {
		t.Errorf("what was added (-want +got):\n%s", diff)
	}
}
