// SPDX-License-Identifier: Apache-2.0

package coordinator

import (
	"context"
	"io"
	"net"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weir-stream/weir/runtime/contract"
	"github.com/weir-stream/weir/runtime/protocol"
)

// lateRegistration is a connection that has ended before what it registers with is read.
type lateRegistration struct {
	ctx  context.Context //nolint:containedctx // what Context returns
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
	m := protocol.FromWorker{Register: &protocol.Register{Worker: s.name, Slots: 1, Protocol: protocol.ControlVersion}}
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

func TestRun_EndsWhileAConnectionIsBeingMade(t *testing.T) {
	o := newCluster(t).options()
	var err error
	if o.Control, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	servers := c.startServers()
	silent, err := net.Dial("tcp", o.Control.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	// The server's first bytes: it has taken the connection, and waits for those of the client.
	if _, err := io.ReadFull(silent, make([]byte, 9)); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- servers.stop(t.Context()) }()
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("stopping the servers: %v", err)
		}
	case <-time.After(30 * time.Second):
		t.Error("a client that never says a word holds up the end")
	}
}
