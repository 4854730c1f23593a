// SPDX-License-Identifier: Apache-2.0

package control

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/weir-stream/weir/runtime/protocol"
	"github.com/weir-stream/weir/runtime/record"
	"github.com/weir-stream/weir/runtime/transport"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// serve starts a server and returns its address.
func serve(t *testing.T, c *tls.Config, h Handler) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := NewServer(c, h)
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	t.Cleanup(func() {
		s.Stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return l.Addr().String()
}

// echo answers a Register with a Registered that carries the name, and ends after a heartbeat.
func echo(s CoordinatorStream) error {
	for {
		m, err := s.Recv()
		if err != nil {
			return err
		}
		if m.Heartbeat != nil {
			return nil
		}
		if err := s.Send(protocol.ToWorker{Registered: &protocol.Registered{Job: []byte(m.Register.Worker)}}); err != nil {
			return err
		}
	}
}

// converse runs the worker's side of echo.
func converse(t *testing.T, s WorkerStream) {
	t.Helper()
	big := strings.Repeat("x", 5<<20)
	for _, name := range []string{"a", big, "b"} {
		if err := s.Send(protocol.FromWorker{Register: &protocol.Register{Worker: name}}); err != nil {
			t.Fatal(err)
		}
		m, err := s.Recv()
		if err != nil {
			t.Fatal(err)
		}
		if m.Registered == nil || string(m.Registered.Job) != name {
			t.Fatalf("answer to %.10q is %+v", name, m)
		}
	}
	if err := s.Send(protocol.FromWorker{Heartbeat: &protocol.Heartbeat{}}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Recv(); !errors.Is(err, io.EOF) {
		t.Errorf("after the coordinator ended the stream: %v, want EOF", err)
	}
}

func TestPlain(t *testing.T) {
	addr := serve(t, nil, echo)
	s, err := Dial(t.Context(), addr, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	converse(t, s)
}

func TestMutualTLS(t *testing.T) {
	dir := t.TempDir()
	if err := transport.GenerateCerts(dir, nil); err != nil {
		t.Fatal(err)
	}
	server, err := transport.CertFiles(dir, "coordinator").Server(transport.RoleWorker)
	if err != nil {
		t.Fatal(err)
	}
	addr := serve(t, server, echo)
	other := t.TempDir()
	if err := transport.GenerateCerts(other, nil); err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		files   transport.TLSConfig
		server  transport.Role
		wantErr bool
	}{
		"worker":                     {files: transport.CertFiles(dir, "worker"), server: transport.RoleCoordinator},
		"client instead of a worker": {files: transport.CertFiles(dir, "client"), server: transport.RoleCoordinator, wantErr: true},
		"worker of another job":      {files: transport.CertFiles(other, "worker"), server: transport.RoleCoordinator, wantErr: true},
		"server of another role":     {files: transport.CertFiles(dir, "worker"), server: transport.RoleWorker, wantErr: true},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			c, err := tc.files.Client(tc.server)
			if err != nil {
				t.Fatal(err)
			}
			s, err := Dial(t.Context(), addr, c)
			if !tc.wantErr {
				if err != nil {
					t.Fatal(err)
				}
				defer s.Close()
				converse(t, s)
				return
			}
			if err == nil {
				defer s.Close()
				if err = s.Send(protocol.FromWorker{Register: &protocol.Register{}}); err == nil {
					_, err = s.Recv()
				}
			}
			if err == nil {
				t.Error("accepted")
			}
		})
	}
}

func TestNobodyThere(t *testing.T) {
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	if s, err := Dial(t.Context(), addr, nil); err == nil {
		s.Close()
		t.Error("connected to nobody")
	}
}

func TestCloseReleasesRecv(t *testing.T) {
	addr := serve(t, nil, func(s CoordinatorStream) error {
		<-s.Context().Done()
		return nil
	})
	s, err := Dial(t.Context(), addr, nil)
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan error, 1)
	go func() {
		_, err := s.Recv()
		got <- err
	}()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if err := <-got; status.Code(err) != codes.Canceled {
		t.Errorf("Recv() after Close: %v", err)
	}
}

func TestPipe(t *testing.T) {
	w, c, done := Pipe(t.Context())
	go func() {
		defer done()
		_ = echo(c)
	}()
	converse(t, w)
}

func TestPipeEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	w, c, _ := Pipe(ctx)
	if err := c.Send(protocol.ToWorker{Shutdown: true}); err != nil {
		t.Fatal(err)
	}
	cancel()
	if m, err := w.Recv(); err != nil || !m.Shutdown {
		t.Errorf("a message sent before the end: %+v, %v", m, err)
	}
	if _, err := w.Recv(); !errors.Is(err, io.EOF) {
		t.Errorf("Recv() after the end: %v", err)
	}
	if err := w.Send(protocol.FromWorker{}); !errors.Is(err, io.EOF) {
		t.Errorf("Send() after the end: %v", err)
	}
}

func TestMessagesSurviveTheCodec(t *testing.T) {
	want := protocol.ToWorker{Trigger: &protocol.Trigger{
		Attempt: protocol.Attempt{Epoch: protocol.Epoch{Grant: 1, N: 2}, K: 3},
		Barrier: record.Barrier{Checkpoint: 7, Kind: record.Savepoint, Stop: record.StopDrain, Base: 6, Target: "a/b/"},
		Tasks:   []protocol.TaskID{{Vertex: "v", Subtask: 1}},
	}}
	b, err := codec{}.Marshal(&want)
	if err != nil {
		t.Fatal(err)
	}
	var got protocol.ToWorker
	if err := (codec{}).Unmarshal(b, &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if err := (codec{}).Unmarshal(b[:0], &got); err == nil {
		t.Error("an empty message is accepted")
	}
}
