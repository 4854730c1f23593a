// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"time"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
	jobplan "github.com/weir-stream/weir/controllers/streamjob/plan"
	"github.com/weir-stream/weir/runtime/contract"
)

// Observation is everything that [Next] decides from. It is not changed.
type Observation struct {
	// Snapshot is the StreamSnapshot with the status that was written last.
	Snapshot *streamv1.StreamSnapshot
	// Job is the StreamJob that jobRef names; nil: there is none.
	Job *streamv1.StreamJob
	// Engine is what its coordinator reported; nil: nothing was heard of it.
	Engine *jobplan.Engine
	// Answer is what the coordinator answered when it was asked last; nil: it was not asked since the operator started.
	Answer *contract.Operation
	// Agents are the agent pods of the StreamSnapshot.
	Agents []jobplan.Agent
	// Users say who needs the snapshot, as far as the operator sees; see [Users].
	Users []string
	// NamespaceEnding says that the namespace is being deleted: no pod can be made in it.
	NamespaceEnding bool
}

// Plan is what is to be done.
type Plan struct {
	// Actions are done in order, before the status is written. Each can be repeated without harm.
	Actions []Action
	// Status is the status to write.
	Status streamv1.StreamSnapshotStatus
	// Events are published once the status is written.
	Events []jobplan.Event
	// Next is when to look again though nothing changed; 0: no need to.
	Next time.Duration
}

// Action is something to do. The types below are all there are.
type Action interface{ action() }

// Ask asks the coordinator of a grant of the job for the savepoint, or for what became of it.
type Ask struct {
	Grant   int64
	Request contract.SavepointRequest
}

// RunAgent makes an agent pod.
type RunAgent struct {
	Name string
	// Task is inspect or remove.
	Task jobplan.AgentTask
	// Storage is where the snapshot is, Path where in it, and Pin the name of the pin that keeps it.
	Storage   *streamv1.Storage
	Path, Pin string
	// JobID and Checkpoint say which snapshot is meant; empty and 0: any.
	JobID      string
	Checkpoint int64
}

// DeleteAgent deletes an agent pod.
type DeleteAgent struct{ Name string }

// Release removes the finalizer.
type Release struct{}

func (Ask) action()         {}
func (RunAgent) action()    {}
func (DeleteAgent) action() {}
func (Release) action()     {}

// The tasks of agents for snapshots, as the engine's command line names them.
const (
	InspectTask jobplan.AgentTask = "inspect"
	RemoveTask  jobplan.AgentTask = "remove"
)
