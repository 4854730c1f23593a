// SPDX-License-Identifier: Apache-2.0

package worker

import (
	"context"
	"crypto/tls"
	"errors"
	"time"

	"github.com/go-logr/logr"

	"github.com/weir-stream/weir/runtime/contract"
	"github.com/weir-stream/weir/runtime/graph"
	"github.com/weir-stream/weir/runtime/storage"
	"github.com/weir-stream/weir/runtime/transport"
	"github.com/weir-stream/weir/runtime/transport/control"
)

// Connect opens a connection to the coordinator.
type Connect func(ctx context.Context) (control.WorkerStream, error)

// Options configure a worker.
type Options struct {
	// Connect opens a connection to the coordinator; see [Dial].
	Connect Connect
	// Name is unique among the workers of the job, stable over reconnects, new for a new process.
	Name string
	// Slots is how many subtasks of each vertex this worker takes. Default 1.
	Slots int
	// Version of the build, compared with the coordinator's.
	Version string
	// DataListenAddr is where other workers reach this one ("host:port", port 0 for any); empty when it is the only one.
	DataListenAddr string
	// AdvertiseAddr is what others dial; the port may be left out or 0 for that of the listener. Default: the listener's address.
	AdvertiseAddr string
	// TLS holds the certificate of the worker for the connections between workers; nil means no TLS.
	TLS *transport.TLSConfig
	// Build makes the graph of the job.
	Build func(job contract.JobConfig) (*graph.Graph, error)
	// Store opens the storage of the job; the worker does not close it.
	Store func(ctx context.Context, job contract.JobConfig) (storage.Store, error)
	// LocalDir is a directory of this worker alone for copies of state files, which a job with local recovery restores from instead of
	// storage where it can. Empty: none.
	LocalDir string
	// Registered, if set, is told when the coordinator has accepted this worker, and when the connection is lost again.
	Registered func(registered bool)
	// Drain makes the worker end when it is closed, after a checkpoint if tasks run; nil: never. DrainTimeout bounds the wait for the
	// checkpoint, default 25 s.
	Drain        <-chan struct{}
	DrainTimeout time.Duration
	// Turned, if set, is called whenever the session with the coordinator gets on: with each heartbeat, and with each try to connect. It must not block.
	Turned func()
	// Working, if set, is called when tasks are deployed, before they are started. It must not block.
	Working func()
	// ConnectTimeout bounds how long the worker tries to reach the coordinator before it gives up. Default 5 min.
	ConnectTimeout time.Duration
	// CancelTimeout bounds how long tasks may take to end once they are cancelled. One that takes longer is
	// stuck in code of the user; the worker ends with an error then. Default 30 s.
	CancelTimeout time.Duration
	// AsyncParts bounds how many asynchronous parts of snapshots run at once. Default 8.
	AsyncParts int
	// Linger is how long rows wait in a task for more when it has nothing else to do. Default 5 ms.
	Linger time.Duration
	// Log is the logger.
	Log logr.Logger
}

// EnsureDefaults sets what isn't set.
func (o *Options) EnsureDefaults() {
	set := func(d *time.Duration, def time.Duration) {
		if *d == 0 {
			*d = def
		}
	}
	set(&o.ConnectTimeout, 5*time.Minute)
	set(&o.DrainTimeout, DefaultDrainTimeout)
	set(&o.CancelTimeout, 30*time.Second)
	set(&o.Linger, 5*time.Millisecond)
	if o.Slots == 0 {
		o.Slots = 1
	}
	if o.AsyncParts == 0 {
		o.AsyncParts = 8
	}
	if o.Turned == nil {
		o.Turned = func() {}
	}
	if o.Working == nil {
		o.Working = func() {}
	}
	if o.Log.GetSink() == nil {
		o.Log = logr.Discard()
	}
}

// Validate says what is missing.
func (o *Options) Validate() error {
	switch {
	case o.Connect == nil:
		return errors.New("checking the options of the worker: Connect is missing")
	case o.Name == "":
		return errors.New("checking the options of the worker: Name is missing")
	case o.Slots < 0:
		return errors.New("checking the options of the worker: Slots is negative")
	case o.Build == nil || o.Store == nil:
		return errors.New("checking the options of the worker: Build or Store is missing")
	}
	return nil
}

// Dial returns a Connect that dials the coordinator at addr; tlsConfig nil means no TLS.
func Dial(addr string, tlsConfig *tls.Config) Connect {
	return func(ctx context.Context) (control.WorkerStream, error) {
		return control.Dial(ctx, addr, tlsConfig)
	}
}
