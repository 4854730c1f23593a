// SPDX-License-Identifier: Apache-2.0

package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"

	"github.com/weir-stream/weir/runtime/record"
)

const (
	dataService = "weir.data.v2.Exchange"
	dataStream  = "Channels"
	// workerHeader is the metadata key under which the dialing worker gives its name.
	workerHeader = "weir-worker"
	// peerHeader is the key under which it says whom it means to reach.
	peerHeader = "weir-peer"

	// windowSize of HTTP/2: large enough never to matter, for the flow is controlled by credits.
	windowSize = 64 << 20
	bufferSize = 128 << 10
	// maxMessage bounds a message of several frames.
	maxMessage = maxFrame + headerSize + sendTarget

	keepaliveTime    = 10 * time.Second
	keepaliveTimeout = 10 * time.Second
	// handshakeTimeout bounds how long a peer that dials may take to greet. The end of an exchange waits for it.
	handshakeTimeout = 5 * time.Second
	// defaultConnectTimeout bounds the wait for a peer to answer.
	defaultConnectTimeout = 10 * time.Second

	// closedKept is how many closed attempts are remembered, to turn away what comes late.
	closedKept = 256
)

// ExchangeOptions configure an [Exchange].
type ExchangeOptions struct {
	// Worker is the name of this worker, for the messages of its peers.
	Worker string
	// Listener is where peers dial this worker; nil when nobody does. The exchange closes it.
	Listener net.Listener
	// ServerTLS and ClientTLS are for accepting and dialing peers; nil means no TLS.
	ServerTLS *tls.Config
	ClientTLS *tls.Config
	// ConnectTimeout bounds how long a peer may take to answer when it is dialed. Default 10 s.
	ConnectTimeout time.Duration
	// Failed hears that a channel of an attempt is broken, so that the attempt can't go on. It may be
	// called from any goroutine, several times for one attempt, and must not block.
	Failed func(attempt string, err error)
	// Log is the logger.
	Log logr.Logger
}

// Exchange carries the channels between this worker and its peers. There is one a worker.
type Exchange struct {
	opts  ExchangeOptions
	pool  framePool
	start *Signal

	mu struct {
		sync.Mutex
		// starting are peers that Run hasn't started yet.
		starting []*peer
		// peers are the connections; a broken one is taken out.
		peers map[Peer]*peer
		// gates are the registered channels, waiting those a peer opened before they were.
		gates   map[gateKey]*gateEntry
		waiting map[gateKey]*inChannel
		closed  map[string]bool
		// closedOrder is closed in order, oldest first.
		closedOrder []string
	}
}

// gateKey names a channel of an attempt.
type gateKey struct {
	attempt string
	id      ChannelID
}

// gateEntry is where a channel ends on this worker.
type gateEntry struct {
	gate  *Gate
	index int
	typ   record.Type
	bound bool
}

// GateChannel says which channel of a gate a channel of the plan is.
type GateChannel struct {
	ID    ChannelID
	Index int
	Type  record.Type
}

// NewExchange returns an exchange; it works while Run runs.
func NewExchange(opts ExchangeOptions) *Exchange {
	if opts.ConnectTimeout == 0 {
		opts.ConnectTimeout = defaultConnectTimeout
	}
	x := &Exchange{opts: opts, start: NewSignal()}
	x.mu.peers = map[Peer]*peer{}
	x.mu.gates = map[gateKey]*gateEntry{}
	x.mu.waiting = map[gateKey]*inChannel{}
	x.mu.closed = map[string]bool{}
	return x
}

// Run serves peers and connections to peers until ctx ends; all that it started has ended when it returns.
func (x *Exchange) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	group, ctx := errgroup.WithContext(ctx)
	if x.opts.Listener != nil {
		x.serve(ctx, group)
	}
	for {
		for _, p := range x.takeStarting() {
			group.Go(func() error {
				p.run(ctx)
				return nil
			})
		}
		select {
		case <-x.start.C():
		case <-ctx.Done():
			err := group.Wait()
			for _, p := range x.takeStarting() {
				p.fail(errors.New("the worker ends"))
			}
			return err
		}
	}
}

// serve accepts peers.
func (x *Exchange) serve(ctx context.Context, group *errgroup.Group) {
	opts := []grpc.ServerOption{
		grpc.ForceServerCodecV2(rawCodec{}),
		grpc.StaticStreamWindowSize(windowSize),
		grpc.StaticConnWindowSize(windowSize),
		grpc.ReadBufferSize(bufferSize),
		grpc.WriteBufferSize(bufferSize),
		grpc.MaxRecvMsgSize(maxMessage),
		grpc.ConnectionTimeout(handshakeTimeout),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: keepaliveTime, Timeout: keepaliveTimeout}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: keepaliveTime / 2, PermitWithoutStream: true}),
	}
	if x.opts.ServerTLS != nil {
		opts = append(opts, grpc.Creds(credentials.NewTLS(x.opts.ServerTLS)))
	}
	s := grpc.NewServer(opts...)
	s.RegisterService(&grpc.ServiceDesc{
		ServiceName: dataService,
		Streams: []grpc.StreamDesc{{
			StreamName:    dataStream,
			Handler:       func(_ any, ss grpc.ServerStream) error { return x.accept(ss) }, //nolint:contextcheck // it is the stream's
			ServerStreams: true,
			ClientStreams: true,
		}},
	}, nil)
	group.Go(func() error {
		if err := s.Serve(x.opts.Listener); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			return fmt.Errorf("serving the exchange: %w", err)
		}
		return nil
	})
	group.Go(func() error {
		<-ctx.Done()
		s.Stop()
		return nil
	})
}

func (x *Exchange) takeStarting() []*peer {
	x.mu.Lock()
	defer x.mu.Unlock()
	s := x.mu.starting
	x.mu.starting = nil
	return s
}

// Peer is another worker. Its name keeps a worker that has got the address of an old one from being taken for it.
type Peer struct {
	Worker string
	Addr   string
}

// OpenWriter returns the producer's end of a channel that ends on another worker. Nothing
// is sent before that worker has registered the channel. room is set when HasRoom turns true.
func (x *Exchange) OpenWriter(attempt string, id ChannelID, to Peer, t record.Type, room *Signal) (Writer, error) {
	if len(attempt)+len(t.Name()) > maxText-16 {
		return nil, fmt.Errorf("opening a channel of %s: the name of its type is longer than %d bytes", id, maxText)
	}
	for {
		p := x.peer(to)
		w := p.open(opening{attempt: attempt, id: id, typ: t.Name()}, t, room)
		if w == nil {
			continue // it broke meanwhile
		}
		// CloseAttempt may not have seen the new channel.
		if x.isClosed(attempt) {
			p.closeAttempt(attempt)
			return nil, fmt.Errorf("opening a channel of attempt %s: it is closed", attempt)
		}
		return w, nil
	}
}

// peer returns the connection to a worker, a new one if there is none.
func (x *Exchange) peer(to Peer) *peer {
	x.mu.Lock()
	defer x.mu.Unlock()
	p := x.mu.peers[to]
	if p == nil {
		p = newPeer(x, to)
		x.mu.peers[to] = p
		x.mu.starting = append(x.mu.starting, p)
		x.start.Set()
	}
	return p
}

// forget takes a broken connection out.
func (x *Exchange) forget(p *peer) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.mu.peers[p.to] == p {
		delete(x.mu.peers, p.to)
	}
}

// RegisterGate says where channels that come from other workers end. Peers may have opened
// them already, or do so later; both sides must name the same type.
func (x *Exchange) RegisterGate(attempt string, channels []GateChannel, g *Gate) error {
	var bind []*inChannel
	err := func() error {
		x.mu.Lock()
		defer x.mu.Unlock()
		if x.mu.closed[attempt] {
			return fmt.Errorf("registering channels of attempt %s: it is closed", attempt)
		}
		for _, c := range channels {
			key := gateKey{attempt: attempt, id: c.ID}
			if x.mu.gates[key] != nil {
				return fmt.Errorf("registering a channel of attempt %s: %s exists", attempt, c.ID)
			}
			x.mu.gates[key] = &gateEntry{gate: g, index: c.Index, typ: c.Type}
			if in := x.mu.waiting[key]; in != nil {
				delete(x.mu.waiting, key)
				bind = append(bind, in)
			}
		}
		return nil
	}()
	for _, in := range bind {
		x.bind(in)
	}
	return err
}

// bind connects a channel that a peer opened with its gate, or remembers it until the gate is registered.
func (x *Exchange) bind(in *inChannel) {
	x.mu.Lock()
	if x.mu.closed[in.key.attempt] {
		x.mu.Unlock()
		in.conn.reject(in.number, fmt.Sprintf("attempt %s is over", in.key.attempt))
		return
	}
	entry := x.mu.gates[in.key]
	if entry == nil {
		if x.mu.waiting[in.key] == nil {
			x.mu.waiting[in.key] = in
			x.mu.Unlock()
			return
		}
		x.mu.Unlock()
		in.conn.reject(in.number, in.key.id.String()+" is open already")
		return
	}
	taken := entry.bound
	entry.bound = true
	x.mu.Unlock()
	switch {
	case taken:
		in.conn.reject(in.number, in.key.id.String()+" is open already")
	case entry.typ.Name() != in.typ:
		x.opts.Failed(in.key.attempt, fmt.Errorf("connecting %s: worker %s sends %s, want %s", in.key.id, in.conn.worker, in.typ, entry.typ.Name()))
		in.conn.reject(in.number, fmt.Sprintf("%s carries %s, not %s", in.key.id, entry.typ.Name(), in.typ))
	default:
		in.connect(entry)
	}
}

// unwait forgets a channel whose connection ended before its gate was registered.
func (x *Exchange) unwait(in *inChannel) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.mu.waiting[in.key] == in {
		delete(x.mu.waiting, in.key)
	}
}

// isClosed says whether CloseAttempt was called for the attempt.
func (x *Exchange) isClosed(attempt string) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.mu.closed[attempt]
}

// CloseAttempt ends all channels of an attempt: what isn't sent is dropped, what still arrives is too, and
// the loss of a connection is no failure of it any more.
func (x *Exchange) CloseAttempt(attempt string) {
	x.mu.Lock()
	if !x.mu.closed[attempt] {
		x.mu.closed[attempt] = true
		x.mu.closedOrder = append(x.mu.closedOrder, attempt)
		if len(x.mu.closedOrder) > closedKept {
			delete(x.mu.closed, x.mu.closedOrder[0])
			x.mu.closedOrder = x.mu.closedOrder[1:]
		}
	}
	for key := range x.mu.gates {
		if key.attempt == attempt {
			delete(x.mu.gates, key)
		}
	}
	var turnAway []*inChannel
	for key, in := range x.mu.waiting {
		if key.attempt == attempt {
			delete(x.mu.waiting, key)
			turnAway = append(turnAway, in)
		}
	}
	peers := make([]*peer, 0, len(x.mu.peers))
	for _, p := range x.mu.peers {
		peers = append(peers, p)
	}
	x.mu.Unlock()
	for _, in := range turnAway {
		in.conn.reject(in.number, fmt.Sprintf("attempt %s is over", attempt))
	}
	for _, p := range peers {
		p.closeAttempt(attempt)
	}
}
