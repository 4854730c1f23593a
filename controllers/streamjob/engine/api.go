// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"context"
	"crypto/tls"

	"k8s.io/apimachinery/pkg/types"

	"github.com/weir-stream/weir/runtime/contract"
)

// Target is where the coordinator of a job is.
type Target struct {
	// Grant of the version that the coordinator belongs to.
	Grant int64
	// Addr is "host:port" of its control API; empty: it has no pod with an address yet, which counts as not answering.
	Addr string
	// TLS holds the certificate of the operator for this job. Two targets with different pointers are different.
	TLS *tls.Config
}

// Commands are what the operator asks of a coordinator. Each is idempotent by the id or the revision in its request.
type Commands interface {
	Stop(ctx context.Context, r contract.StopRequest) (*contract.Operation, error)
	Savepoint(ctx context.Context, r contract.SavepointRequest) (*contract.Operation, error)
	Checkpoint(ctx context.Context, r contract.CheckpointRequest) (*contract.Operation, error)
	Cancel(ctx context.Context, r contract.CancelRequest) (*contract.Operation, error)
	SetPolicy(ctx context.Context, p contract.Policy) (*contract.Policy, error)
	Activate(ctx context.Context, r contract.ActivateRequest) (*contract.Activation, error)
}

// API is the control API of one coordinator, as [contract.Client] offers it. It is used by one goroutine that polls and any
// number that command.
type API interface {
	Commands
	Job(ctx context.Context) (*contract.JobStatus, error)
	Checkpoints(ctx context.Context) (*contract.CheckpointsReport, error)
	// Close releases what the connection holds. Nothing is called after it, except commands that then may fail.
	Close()
}

// Dial returns the control API of a target. It must not block.
type Dial func(key types.NamespacedName, t Target) (API, error)

// dialContract speaks to a real coordinator.
func dialContract(_ types.NamespacedName, t Target) (API, error) {
	c, err := contract.NewClient(t.Addr, contract.ClientOptions{TLS: t.TLS, Timeout: requestTimeout})
	if err != nil {
		return nil, err
	}
	return c, nil
}
