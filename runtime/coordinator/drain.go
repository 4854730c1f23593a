// SPDX-License-Identifier: Apache-2.0

package coordinator

import (
	"time"

	"github.com/weir-stream/weir/runtime/job"
	"github.com/weir-stream/weir/runtime/protocol"
)

// drain takes a checkpoint for a worker that is to end, and tells it when that is over. A job that doesn't run, is being stopped or takes no checkpoints has
// none to wait for.
func (l *loop) drain(k *conn) {
	now := time.Now()
	if l.machine == nil || l.o.Job.Checkpointing == nil || l.machine.Status(now).State != job.StateRunning {
		k.send(protocol.ToWorker{Drained: true})
		return
	}
	id := "drain-" + newJobID()[:12]
	l.log.Info("Taking a checkpoint for a worker that is to end", "worker", k.register.Worker, "operation", id)
	l.draining[id] = k
	l.machine.HandleCheckpoint(now, id)
}

// drained tells the worker that waited for an operation that it is over, however it ended.
func (l *loop) drained(id string) {
	if k := l.draining[id]; k != nil {
		delete(l.draining, id)
		k.send(protocol.ToWorker{Drained: true})
	}
}
