// SPDX-License-Identifier: Apache-2.0

package coordinator

import (
	"context"
	"io"
	"strconv"
	"testing"
	"testing/synctest"

	"github.com/weir-stream/weir/runtime/contract"
	"github.com/weir-stream/weir/runtime/protocol"
)

// lateRegistration is a connection that has ended before what it registers with is read.
type lateRegistration struct {
	ctx  context.Context
	name string
	read chan struct{}
}

func (s *lateRegistration) Context() context.Context     { return s.ctx }
func (s *lateRegistration) Send(protocol.ToWorker) error { return io.EOF }
func (s *lateRegistration) Recv() (protocol.FromWorker, error) {
	if s.name == "" {
		return protocol.FromWorker{}, io.EOF
	}
	<-s.read
	m := protocol.FromWorker{Register: &protocol.Register{Worker: s.name, Slots: 1}}
	s.name = ""
	return m, nil
}

func TestHandle_ARegistrationOfAConnectionThatHasEndedCountsForNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newCluster(t).start(newCluster(t).options())
		r.await("workers to be missing", func(s *contract.JobStatus) bool { return s.State == contract.JobWaiting })
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		for i := range 30 { // whether the registration still gets through is by chance
			s := &lateRegistration{ctx: gone, name: "w" + strconv.Itoa(i), read: make(chan struct{})}
			_ = r.Handle(s)
			close(s.read)
			synctest.Wait()
			st, err := r.Job(t.Context())
			if err != nil || len(st.Workers) > 0 {
				t.Fatalf("after connection %d the workers are %+v, %v", i, st.Workers, err)
			}
		}
		r.cancel()
		_, _ = r.wait()
	})
}
