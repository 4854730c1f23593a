// SPDX-License-Identifier: Apache-2.0

package coordinator

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	"go.opentelemetry.io/otel/trace"

	"github.com/weir-stream/weir/runtime/contract"
	"github.com/weir-stream/weir/runtime/graph"
	"github.com/weir-stream/weir/runtime/storage"
)

const (
	defaultHeartbeatInterval = time.Second
	defaultHeartbeatTimeout  = 5 * time.Second
	defaultLinger            = 3 * time.Second
	// maxStorageCalls bounds the storage calls of a kind under way: those about manifests, and deletions.
	maxStorageCalls = 8
	// queueDepth is how many events wait before those who post them do.
	queueDepth = 256
)

// Options configure a [Coordinator].
type Options struct {
	// Job is its configuration.
	Job contract.JobConfig
	// Grant numbers the deployments of the job's coordinator, ascending. 0 takes that of the head, or one more if the
	// job ended under it, so that it goes on: right only where nobody else gives grants.
	Grant int64
	// Fresh starts a new job beside the state that storage has, unless Job names a job id.
	Fresh bool
	// Operated says that somebody gives the job ids: a job id that Job names must have its state in storage, and state of another
	// job of the same name is a [RetainedError], except for the job id NewJobID of Job, which may be started anew.
	Operated bool
	// Standby holds the coordinator back until it is opened: it claims nothing, but plans the state, takes workers and answers
	// callers. A grant is needed then; one that the head names already opens it. Nil: it isn't held back.
	Standby *Gate
	// Build makes the graph of the job.
	Build func(contract.JobConfig) (*graph.Graph, error)
	// Store is where snapshots and the head go. Location describes it to people and is put before paths.
	Store    storage.Store
	Location string
	// Durable says that Store outlives the coordinator; without, savepoints are refused.
	Durable bool
	// Control accepts the connections of workers, API the requests of callers; the coordinator closes
	// them. Nil: no such server. TLS nil means none.
	Control, API       net.Listener
	ControlTLS, APITLS *tls.Config
	// HeartbeatInterval of the workers, which are answered, default 1 s; a worker silent for HeartbeatTimeout, default 5 s, is lost.
	HeartbeatInterval, HeartbeatTimeout time.Duration
	// Linger bounds how long the API goes on after the end for callers that wait for the outcome of
	// an operation. Default 3 s.
	Linger time.Duration
	// Version of this build; workers of another one are refused.
	Version string
	// Turned, if set, is called whenever something comes from a worker, and every few seconds if nothing does. It must not block.
	Turned func()
	// Traces makes a trace of each snapshot when it is over. It must not block. Nil: none.
	Traces trace.TracerProvider
	// Log is where it logs.
	Log logr.Logger
}

// EnsureDefaults fills in what is unset.
func (o *Options) EnsureDefaults() {
	if o.HeartbeatInterval <= 0 {
		o.HeartbeatInterval = defaultHeartbeatInterval
	}
	if o.HeartbeatTimeout <= 0 {
		o.HeartbeatTimeout = max(defaultHeartbeatTimeout, 5*o.HeartbeatInterval)
	}
	if o.Turned == nil {
		o.Turned = func() {}
	}
	if o.Linger <= 0 {
		o.Linger = defaultLinger
	}
}

// Validate says what is wrong with the options, after EnsureDefaults.
func (o *Options) Validate() error {
	var errs []error
	bad := func(cond bool, text string) {
		if cond {
			errs = append(errs, errors.New("checking the coordinator's options: "+text))
		}
	}
	bad(o.Job.Name == "" || o.Job.Namespace == "", "the job has no name or no namespace")
	bad(o.Grant < 0, "the grant must not be negative")
	bad(o.Standby != nil && o.Grant < 1, "standby needs a grant")
	bad(o.Build == nil, "there is nothing to build the job's graph with")
	bad(o.Store == nil, "there is no storage")
	bad(o.HeartbeatTimeout <= o.HeartbeatInterval, "the heartbeat timeout must be longer than the interval")
	return errors.Join(errs...)
}

// Result says how a coordinator ended.
type Result struct {
	// State is final; Suspended when the context ended or another coordinator took over.
	State contract.JobState
	// Error says why, for Failed.
	Error string
	// Status is the last report.
	Status *contract.JobStatus
}

// Coordinator runs the life of one job. Make it with New, then call Run once.
type Coordinator struct {
	o      Options
	events chan func(*loop)
	// ended is closed when the loop takes no more events, closed when connections must go.
	ended  chan struct{}
	closed chan struct{}
	// running counts the goroutines of connections.
	running sync.WaitGroup
	mu      struct {
		sync.Mutex
		shut bool
	}
	// ready says that the loop runs, or has run to its end.
	ready atomic.Bool
	final final
}

// New returns a coordinator that isn't running yet.
func New(o Options) (*Coordinator, error) {
	o.EnsureDefaults()
	if err := o.Validate(); err != nil {
		return nil, err
	}
	return &Coordinator{
		o:      o,
		events: make(chan func(*loop), queueDepth),
		ended:  make(chan struct{}),
		closed: make(chan struct{}),
	}, nil
}

// enter counts a goroutine of a connection; false when the coordinator is ending.
func (c *Coordinator) enter() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mu.shut {
		return false
	}
	c.running.Add(1)
	return true
}

// post hands an event to the loop; it waits while the queue is full.
func (c *Coordinator) post(ctx context.Context, f func(*loop)) error {
	select {
	case <-c.ended:
		return errEnded
	default:
	}
	select {
	case c.events <- f:
		return nil
	case <-c.ended:
		return errEnded
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// ask has the loop compute something and waits for it.
func ask[T any](ctx context.Context, c *Coordinator, f func(*loop) T) (T, error) {
	answer := make(chan T, 1)
	if err := c.post(ctx, func(l *loop) { answer <- f(l) }); err != nil {
		var none T
		return none, err
	}
	select {
	case v := <-answer:
		return v, nil
	case <-c.ended:
		select {
		case v := <-answer:
			return v, nil
		default:
		}
		var none T
		return none, errEnded
	case <-ctx.Done():
		var none T
		return none, fmt.Errorf("asking the coordinator: %w", context.Cause(ctx))
	}
}
