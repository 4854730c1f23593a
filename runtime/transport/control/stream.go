// SPDX-License-Identifier: Apache-2.0

package control

import (
	"context"
	"crypto/tls"
	"fmt"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"

	"github.com/weir-stream/weir/runtime/protocol"
)

const (
	// MaxMessage bounds one message.
	MaxMessage = 64 << 20

	serviceName = "weir.control.v1.Control"
	streamName  = "Connect"

	keepaliveTime    = 10 * time.Second
	keepaliveTimeout = 10 * time.Second

	// connectTimeout bounds one try to connect, on both sides: the address may be that of a pod that is gone, where nobody answers, and a server that is
	// stopped waits for connections that are being made.
	connectTimeout = 3 * time.Second

	// streamWindow and connWindow are how much one side may send ahead, for each call and for all together. If they are given the library doesn't measure
	// what a connection can hold, for which it follows each message by a ping, on calm connections too.
	streamWindow = 2 << 20
	connWindow   = 4 << 20

	// firstDelay and lastDelay are waited between such tries.
	firstDelay = 100 * time.Millisecond
	lastDelay  = time.Second
)

// WorkerStream is a worker's end of its connection. Send and Recv are each used from one
// goroutine at a time; an error of either ends the connection.
type WorkerStream interface {
	// Send hands over a message; it blocks while the connection is backed up. The message must not be changed afterwards.
	Send(m protocol.FromWorker) error
	// Recv waits for the next message; io.EOF when the coordinator ended the connection.
	Recv() (protocol.ToWorker, error)
	// Close ends the connection and releases a waiting Send or Recv. It may be called from any goroutine and repeatedly.
	Close() error
}

// CoordinatorStream is the coordinator's end of the connection of one worker. Send and Recv
// are each used from one goroutine at a time.
type CoordinatorStream interface {
	// Context ends with the connection.
	Context() context.Context
	// Send hands over a message; it blocks while the connection is backed up. The message must not be changed afterwards.
	Send(m protocol.ToWorker) error
	// Recv waits for the next message; io.EOF when the worker ended the connection.
	Recv() (protocol.FromWorker, error)
}

// Handler serves the connection of one worker, which ends when it returns.
type Handler func(s CoordinatorStream) error

// NewServer returns a gRPC server that serves workers with h; tlsConfig nil means no TLS. The
// caller calls its Serve, and Stop in the end: that ends the contexts of all streams.
func NewServer(tlsConfig *tls.Config, h Handler) *grpc.Server {
	opts := []grpc.ServerOption{
		grpc.ForceServerCodecV2(codec{}),
		grpc.MaxRecvMsgSize(MaxMessage),
		grpc.MaxSendMsgSize(MaxMessage),
		grpc.ConnectionTimeout(connectTimeout),
		grpc.StaticStreamWindowSize(streamWindow),
		grpc.StaticConnWindowSize(connWindow),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: keepaliveTime, Timeout: keepaliveTimeout}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: keepaliveTime / 2, PermitWithoutStream: true}),
	}
	if tlsConfig != nil {
		opts = append(opts, grpc.Creds(credentials.NewTLS(tlsConfig)))
	}
	s := grpc.NewServer(opts...)
	s.RegisterService(&grpc.ServiceDesc{
		ServiceName: serviceName,
		Streams: []grpc.StreamDesc{{
			StreamName:    streamName,
			Handler:       func(_ any, ss grpc.ServerStream) error { return h(serverStream{ss}) },
			ServerStreams: true,
			ClientStreams: true,
		}},
	}, nil)
	return s
}

// NewConn returns a connection to the server of a coordinator, for other services than that of its workers. It is made with the first
// call. tlsConfig nil means no TLS.
func NewConn(addr string, tlsConfig *tls.Config) (*grpc.ClientConn, error) {
	return newConn(addr, tlsConfig, dialTCP)
}

func newConn(addr string, tlsConfig *tls.Config, dial dialer) (*grpc.ClientConn, error) {
	creds := insecure.NewCredentials()
	if tlsConfig != nil {
		creds = credentials.NewTLS(tlsConfig)
	}
	conn, err := grpc.NewClient("passthrough:///"+addr,
		grpc.WithTransportCredentials(creds),
		grpc.WithNoProxy(),
		grpc.WithStaticStreamWindowSize(streamWindow),
		grpc.WithStaticConnWindowSize(connWindow),
		grpc.WithContextDialer(dial.patiently),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: firstDelay, Multiplier: 1.6, Jitter: 0.2, MaxDelay: lastDelay},
			MinConnectTimeout: connectTimeout,
		}),
		grpc.WithDefaultCallOptions(grpc.ForceCodecV2(codec{}), grpc.MaxCallRecvMsgSize(MaxMessage), grpc.MaxCallSendMsgSize(MaxMessage)),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: keepaliveTime, Timeout: keepaliveTimeout, PermitWithoutStream: true}),
	)
	if err != nil {
		return nil, fmt.Errorf("dialing coordinator %s: %w", addr, err)
	}
	return conn, nil
}

// Dial connects to the coordinator; tlsConfig nil means no TLS. The stream lives until it
// fails, Close is called, or ctx ends.
func Dial(ctx context.Context, addr string, tlsConfig *tls.Config) (WorkerStream, error) {
	return dialWith(ctx, addr, tlsConfig, dialTCP)
}

func dialWith(ctx context.Context, addr string, tlsConfig *tls.Config, dial dialer) (WorkerStream, error) {
	conn, err := newConn(addr, tlsConfig, dial)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	desc := &grpc.StreamDesc{StreamName: streamName, ServerStreams: true, ClientStreams: true}
	ss, err := conn.NewStream(ctx, desc, "/"+serviceName+"/"+streamName)
	if err != nil {
		cancel()
		_ = conn.Close()
		return nil, fmt.Errorf("connecting to coordinator %s: %w", addr, err)
	}
	return &clientStream{ss: ss, conn: conn, cancel: cancel}, nil
}

// clientStream is the worker's end over gRPC.
type clientStream struct {
	ss     grpc.ClientStream
	conn   *grpc.ClientConn
	cancel context.CancelFunc
}

// Send implements [WorkerStream].
func (s *clientStream) Send(m protocol.FromWorker) error { return s.ss.SendMsg(&m) }

// Recv implements [WorkerStream].
func (s *clientStream) Recv() (protocol.ToWorker, error) {
	var m protocol.ToWorker
	err := s.ss.RecvMsg(&m)
	return m, err
}

// Close implements [WorkerStream].
func (s *clientStream) Close() error {
	s.cancel()
	return s.conn.Close()
}

// serverStream is the coordinator's end over gRPC.
type serverStream struct{ ss grpc.ServerStream }

// Context implements [CoordinatorStream].
func (s serverStream) Context() context.Context { return s.ss.Context() }

// Send implements [CoordinatorStream].
func (s serverStream) Send(m protocol.ToWorker) error { return s.ss.SendMsg(&m) }

// Recv implements [CoordinatorStream].
func (s serverStream) Recv() (protocol.FromWorker, error) {
	var m protocol.FromWorker
	err := s.ss.RecvMsg(&m)
	return m, err
}
