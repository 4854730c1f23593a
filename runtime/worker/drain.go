// SPDX-License-Identifier: Apache-2.0

package worker

import (
	"errors"
	"time"

	"github.com/weir-stream/weir/runtime/protocol"
)

// DefaultDrainTimeout is how long a worker that is to end waits for a checkpoint unless told otherwise: a bit less than the 30 s that Kubernetes
// gives a pod.
const DefaultDrainTimeout = 25 * time.Second

// ErrDrained is how a worker ends that was drained; see [Options].
var ErrDrained = errors.New("the worker was told to end")

// drain waits until the worker is to end and, if tasks run, for a checkpoint; false when ending was closed first. A worker without a coordinator has
// nobody to ask.
func (w *worker) drain(ending <-chan struct{}) bool {
	select {
	case <-w.opts.Drain:
	case <-ending:
		return false
	}
	w.mu.Lock()
	idle := len(w.mu.current) == 0
	w.mu.Unlock()
	if idle || !w.connected.Load() {
		return true
	}
	w.log.Info("Draining: waiting for a checkpoint", "timeout", w.opts.DrainTimeout.String())
	began := time.Now()
	w.out.put(protocol.FromWorker{Draining: true})
	late := time.NewTimer(w.opts.DrainTimeout)
	defer late.Stop()
	select {
	case <-w.drained:
		w.log.Info("Drained", "after", time.Since(began).String())
	case <-late.C:
		w.log.Info("Drained without a checkpoint: it took too long", "after", time.Since(began).String())
	case <-ending:
		return false
	}
	return true
}

// tellDrained ends the wait of a drain.
func (w *worker) tellDrained() {
	select {
	case w.drained <- struct{}{}:
	default:
	}
}

// lostCoordinator says that the connection to the coordinator ended: a drain has nothing to wait for.
func (w *worker) lostCoordinator() {
	w.connected.Store(false)
	select {
	case <-w.opts.Drain:
		w.tellDrained()
	default:
	}
}
