// SPDX-License-Identifier: Apache-2.0

package coordinator

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/weir-stream/weir/runtime/contract"
	"github.com/weir-stream/weir/runtime/protocol"
	"github.com/weir-stream/weir/runtime/transport/control"
)

// beating is a worker that notes when it hears heartbeats, without answering them.
type beating struct {
	stream control.WorkerStream
	heard  chan time.Time
}

func (r *running) beating(name string) *beating {
	r.t.Helper()
	stream, end, closeEnd := control.Pipe(r.t.Context())
	go func() {
		_ = r.Handle(end)
		closeEnd()
	}()
	b := &beating{stream: stream, heard: make(chan time.Time, 1000)}
	go func() {
		defer close(b.heard)
		for {
			m, err := stream.Recv()
			if err != nil {
				return
			}
			if m.Heartbeat != nil {
				b.heard <- time.Now()
			}
		}
	}()
	b.send(r.t, protocol.FromWorker{Register: &protocol.Register{Worker: name, Slots: 1, Protocol: protocol.ControlVersion}})
	return b
}

func (b *beating) send(t *testing.T, m protocol.FromWorker) {
	t.Helper()
	if err := b.stream.Send(m); err != nil {
		t.Fatal(err)
	}
}

// end cuts the connection and returns the times of heartbeats that were heard before.
func (b *beating) end() []time.Time {
	_ = b.stream.Close()
	var all []time.Time
	for at := range b.heard {
		all = append(all, at)
	}
	return all
}

// waiting starts a coordinator whose job needs more slots than these tests offer, so that it sends nothing but heartbeats.
func waiting(t *testing.T, turned func()) *running {
	c := newCluster(t)
	o := c.options()
	o.Turned = turned
	o.Job.Parallelism = 4
	r := c.start(o)
	r.await("waiting", func(s *contract.JobStatus) bool { return s.State == contract.JobWaiting })
	return r
}

// A heartbeat is answered at once, and that is all: no timer of the coordinator's sends one besides.
func TestBeat_AnswersHeartbeats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		turned := 0
		r := waiting(t, func() { turned++ })
		w := r.beating("w1")
		synctest.Wait()
		var sent []time.Time
		for range 60 {
			time.Sleep(defaultHeartbeatInterval)
			sent = append(sent, time.Now())
			w.send(t, protocol.FromWorker{Heartbeat: &protocol.Heartbeat{}})
			synctest.Wait()
		}
		heard := w.end()
		if turned < len(sent) || turned > 2*len(sent) {
			t.Errorf("the loop said %d times that it got on", turned)
		}
		if len(heard) != len(sent) {
			t.Fatalf("%d heartbeats were answered by %d", len(sent), len(heard))
		}
		for i, at := range heard {
			if !at.Equal(sent[i]) {
				t.Errorf("heartbeat %d was answered after %v", i, at.Sub(sent[i]))
			}
		}
		r.cancel()
		_, _ = r.wait()
	})
}

// A worker with so much to send that its heartbeats wait hears from the coordinator all the same, but not for every message.
func TestBeat_AnswersOtherMessagesNowAndThen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := waiting(t, nil)
		w := r.beating("w1")
		for range 100 {
			time.Sleep(100 * time.Millisecond)
			w.send(t, protocol.FromWorker{Notified: &protocol.Notified{}})
		}
		synctest.Wait()
		if n := len(w.end()); n < 10 || n > 20 {
			t.Errorf("heard %d heartbeats in 10 s", n)
		}
		r.cancel()
		_, _ = r.wait()
	})
}

// One that says nothing hears heartbeats until it counts as lost, which is as soon as the timeout has passed.
func TestBeat_SilentWorkerIsLostInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := waiting(t, nil)
		synctest.Wait()
		time.Sleep(300 * time.Millisecond)
		chatty := r.beating("w2")
		for _, name := range []string{"w1", "w3"} {
			begin := time.Now()
			silent := r.beating(name)
			for range 4 {
				time.Sleep(defaultHeartbeatInterval)
				chatty.send(t, protocol.FromWorker{Heartbeat: &protocol.Heartbeat{}})
			}
			synctest.Wait()
			if n := len(silent.heard); n != 1 {
				t.Errorf("%s heard %d heartbeats before it was lost", name, n)
			}
			for range silent.heard {
			}
			if took := time.Since(begin); took < defaultHeartbeatTimeout || took > defaultHeartbeatTimeout+100*time.Millisecond {
				t.Errorf("%s was lost after %v, the timeout is %v", name, took, defaultHeartbeatTimeout)
			}
			if s := r.await("one worker", func(s *contract.JobStatus) bool { return len(s.Workers) == 1 }); s.Workers[0].Name != "w2" {
				t.Errorf("%s is left", s.Workers[0].Name)
			}
			chatty.send(t, protocol.FromWorker{Heartbeat: &protocol.Heartbeat{}})
		}
		chatty.end()
		r.cancel()
		_, _ = r.wait()
	})
}
