// SPDX-License-Identifier: Apache-2.0

package coordinator

import (
	"fmt"
	"time"

	"github.com/weir-stream/weir/runtime/protocol"
)

// beats is the timer of heartbeats and of silent workers. A worker's heartbeat is answered at once, so that both processes wake once for the two; a timer
// of its own is needed for workers that don't send any. In a calm job it never goes off.
type beats struct {
	timer *time.Timer
	// at is when the timer goes off, looked when all workers were looked at for that.
	at, looked time.Time
}

func newBeats(now time.Time, interval time.Duration) *beats {
	return &beats{timer: time.NewTimer(interval), at: now.Add(interval), looked: now}
}

// by makes the timer go off at t at the latest.
func (b *beats) by(now, t time.Time) {
	if t.Before(b.at) {
		b.set(now, t)
	}
}

func (b *beats) set(now, t time.Time) {
	b.at = t
	b.timer.Reset(max(0, t.Sub(now)))
}

// patience is how long the coordinator waits for a worker's heartbeat to answer before it sends one by itself. It is shorter than the timeout.
func (l *loop) patience() time.Duration {
	return max(l.o.HeartbeatInterval, l.o.HeartbeatTimeout/2)
}

// heard notes that something came from a worker, and answers by a heartbeat unless it was sent one just before. Anything is answered: a worker with much to
// send may not get to its own heartbeats.
func (l *loop) heard(k *conn, now time.Time) {
	l.o.Turned()
	k.lastSeen = now
	if k.greeted && now.Sub(k.beaten) >= l.o.HeartbeatInterval/2 {
		l.sendBeat(k, now)
		if l.beats != nil && now.Sub(l.beats.looked) >= l.o.HeartbeatInterval/4 { // not at the heartbeat of each of a thousand workers
			l.schedule(now)
		}
	}
}

// sendBeat sends a heartbeat to a worker that was greeted: the first message answers its registration.
func (l *loop) sendBeat(k *conn, now time.Time) {
	k.send(protocol.ToWorker{Heartbeat: &protocol.Heartbeat{}})
	k.beaten = now
}

// beat sends heartbeats to those who have waited for one, and finds workers that are silent.
func (l *loop) beat(now time.Time) {
	l.o.Turned()
	for _, name := range sortedKeys(l.workers) {
		k := l.workers[name]
		if silent := now.Sub(k.lastSeen); silent > l.o.HeartbeatTimeout {
			reason := fmt.Sprintf("nothing was heard from it for %v", silent.Round(time.Millisecond))
			l.lost(k, reason, now)
			k.end(fmt.Errorf("losing worker %s: %s", name, reason))
			continue
		}
		if k.greeted && now.Sub(k.beaten) >= l.patience() {
			l.sendBeat(k, now)
		}
	}
	l.schedule(now)
}

// schedule sets the timer to when the first worker is due for a heartbeat or counts as silent.
func (l *loop) schedule(now time.Time) {
	next := now.Add(l.o.HeartbeatTimeout)
	for _, k := range l.workers {
		if due := l.due(k); due.Before(next) {
			next = due
		}
	}
	l.beats.looked = now
	l.beats.set(now, next)
}

// due is when something is to be done about a worker.
func (l *loop) due(k *conn) time.Time {
	due := k.lastSeen.Add(l.o.HeartbeatTimeout + time.Millisecond)
	if k.greeted {
		if beat := k.beaten.Add(l.patience()); beat.Before(due) {
			return beat
		}
	}
	return due
}

// greeted notes that the registration of a worker was answered.
func (l *loop) greeted(k *conn, now time.Time) {
	k.greeted, k.beaten = true, now
	l.expect(k, now)
}

// expect has the timer go off for a worker that has registered or was greeted.
func (l *loop) expect(k *conn, now time.Time) {
	if l.beats != nil {
		l.beats.by(now, l.due(k))
	}
}
