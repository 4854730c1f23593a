// SPDX-License-Identifier: Apache-2.0

package worker

import (
	"sync"

	"github.com/weir-stream/weir/runtime/protocol"
	"github.com/weir-stream/weir/runtime/transport"
)

// outbox holds messages for the coordinator until they are sent. What is put in while there is no
// connection goes out on the next one; the coordinator ignores what is stale.
type outbox struct {
	ready *transport.Signal
	mu    struct {
		sync.Mutex
		queue []protocol.FromWorker
	}
}

func newOutbox() *outbox { return &outbox{ready: transport.NewSignal()} }

// put adds a message. It never blocks and may be called from any goroutine.
func (o *outbox) put(m protocol.FromWorker) {
	o.mu.Lock()
	o.mu.queue = append(o.mu.queue, m)
	o.mu.Unlock()
	o.ready.Set()
}

// take removes all messages.
func (o *outbox) take() []protocol.FromWorker {
	o.mu.Lock()
	defer o.mu.Unlock()
	q := o.mu.queue
	o.mu.queue = nil
	return q
}
