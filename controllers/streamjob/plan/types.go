// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"time"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
	"github.com/weir-stream/weir/runtime/contract"
)

// Observation is everything that the planner decides from. It is not changed.
type Observation struct {
	// Job is the StreamJob with the status that was written last.
	Job *streamv1.StreamJob
	// Invalid says what is wrong with the spec as far as the API server cannot see it; empty: nothing.
	Invalid []string
	// Revision is the hash of what needs a restart in the spec, PolicyRevision of what does not.
	Revision, PolicyRevision string
	// Versions are the grants that have objects of any kind, ascending.
	Versions []Version
	// Engine is what the coordinator of the deployed grant reported; nil: there is no deployed grant.
	Engine *Engine
	// Candidate is what the coordinator reported that stands by to replace it; nil: nothing was heard of one.
	Candidate *Engine
	// Agents are the agent pods of the job, Refused by name those that could not be made when that was tried last.
	Agents  []Agent
	Refused map[string]Refusal
	// NamespaceEnding says that the namespace is being deleted: no pod can be made in it.
	NamespaceEnding bool
	// RestoreTrouble says why there is no snapshot that restoreFrom names; nil: there is, or it names none. Its reason is Pending while there will be one.
	RestoreTrouble *Trouble
}

// Version is the objects of one grant.
type Version struct {
	Grant int64
	// Stored is what its config map holds; nil when there is none or it cannot be read.
	Stored *Stored
	// Exists says that there is anything of it besides the config map: a Deployment, StatefulSet, Service or pod.
	Exists bool
	// Coordinator and Workers are its pods, those that are being deleted left out.
	Coordinator, Workers []Pod
	// Refused is why what makes its pods could not be made when that was tried last; nil: it could, or was made before.
	Refused *Refusal
}

// Refusal is what the API server said of an object that was to be made.
type Refusal struct {
	// Message names the object and says what was answered, and the remedy.
	Message string
	// Lasts says that it is the object which is refused; otherwise the API server did not get to that, which passes.
	Lasts bool
	// Alone says that it may pass when the objects of another version are gone.
	Alone bool
}

// trouble is a refusal that somebody has to do something about; nil: it is none.
func (r *Refusal) trouble() *Trouble {
	if r == nil || !r.Lasts {
		return nil
	}
	return &Trouble{Reason: streamv1.ReasonActionFailed, Message: cut(r.Message), Alone: r.Alone}
}

// Stored describes a revision that was stored.
type Stored struct {
	// Revision and PolicyRevision are the hashes of the spec in it, Generation that of the StreamJob.
	Revision, PolicyRevision string
	Generation               int64
	// Spec is the spec in it. Storage locations and maxParallelism are compared with it.
	Spec *streamv1.StreamJobSpec
	// Image is that of its pods.
	Image string
	// JobID is the job that it goes on with; empty, or the same as NewJobID: it starts a new one. RewindTo is a snapshot of that job to
	// go back to; empty: its newest.
	JobID, NewJobID, RewindTo string
	// Standby says that its coordinator waits until it is activated.
	Standby bool
}

// Pod is one pod as far as it matters.
type Pod struct {
	Name string
	// Trouble is what keeps the pod from running; nil when nothing does.
	Trouble *Trouble
	// Waits is what a pod that nothing is wrong with waits for, in words; empty: nothing, or nothing worth a word.
	Waits string
}

// Trouble is what keeps a pod from running.
type Trouble struct {
	// Reason is one of the condition reasons ImagePullFailed, Unschedulable, PodConfigInvalid and PodCrashing, or ActionFailed for what was not even made.
	Reason string
	// Message says what Kubernetes says, and the remedy.
	Message string
	// Alone says that it may pass when the pods of another version are gone, or that it is the engine which ends and not what is around it.
	Alone bool
}

// Engine is what is known of the coordinator of a grant.
type Engine struct {
	Grant int64
	// Status is its newest report; nil: none was heard since the operator started. Checkpoints goes with it.
	Status      *contract.JobStatus
	Checkpoints *contract.CheckpointsReport
	// UnreachableSince is when it stopped answering; zero: it answers.
	UnreachableSince time.Time
	// Error says why it does not answer.
	Error string
}

// Agent is an agent pod.
type Agent struct {
	Name string
	// Ended says that it has run to its end; Result is what it reported, nil when it reported nothing, and then Message says how
	// it ended.
	Ended   bool
	Result  *contract.AgentResult
	Message string
	// Trouble is what keeps it from running, Waits what it waits for without being in trouble.
	Trouble *Trouble
	Waits   string
}

// Plan is what is to be done.
type Plan struct {
	// Actions are done in order, before the status is written. Each can be repeated without harm.
	Actions []Action
	// Status is the status to write.
	Status streamv1.StreamJobStatus
	// Events are published once the status is written.
	Events []Event
	// Next is when to look again though nothing changed; 0: no need to.
	Next time.Duration
}

// Action is something to do. The types below are all there are.
type Action interface{ action() }

// Store writes the current spec as the revision of a grant, in its config map: over what is stored there, if anything.
type Store struct {
	Grant int64
	// JobID is the job to go on with; NewJobID the id of the one to start when JobID is empty. Where both are the same, that one is started
	// whatever else storage holds.
	JobID, NewJobID string
	// From is the grant whose stored revision is taken instead of the current spec; 0: none.
	From int64
	// RewindTo is a snapshot of the job to go back to; empty: it goes on from its newest.
	RewindTo string
	// Standby makes the coordinator of that version wait until it is activated.
	Standby bool
}

// Apply makes and keeps the objects of a grant as its stored revision says.
type Apply struct {
	Grant int64
}

// Delete deletes the objects of a grant, the coordinator first.
type Delete struct {
	Grant int64
	// KeepRevision leaves the config map with the stored revision.
	KeepRevision bool
}

// Stop asks the coordinator of a grant to stop the job with a savepoint.
type Stop struct {
	Grant   int64
	Request contract.StopRequest
}

// TakeSavepoint asks the coordinator of a grant for a savepoint.
type TakeSavepoint struct {
	Grant   int64
	Request contract.SavepointRequest
}

// TakeCheckpoint asks the coordinator of a grant for a checkpoint.
type TakeCheckpoint struct {
	Grant   int64
	Request contract.CheckpointRequest
}

// Cancel asks the coordinator of a grant to cancel the job.
type Cancel struct {
	Grant   int64
	Request contract.CancelRequest
}

// SetPolicy gives the coordinator of a grant the policy of its stored revision.
type SetPolicy struct {
	Grant int64
}

// Activate ends the standby of the coordinator of a grant.
type Activate struct {
	Grant int64
}

// AgentTask is what an agent pod does.
type AgentTask string

// The agent tasks, as the engine's command line names them.
const (
	CheckTask   AgentTask = "check"
	FenceTask   AgentTask = "fence"
	DisposeTask AgentTask = "dispose"
)

// RunAgent makes an agent pod. It is rendered from the revision that is stored for the grant Revision.
type RunAgent struct {
	Name string
	Task AgentTask
	// Revision is the grant whose stored revision it runs; Grant is the one that it claims the head with.
	Revision, Grant int64
	// Operations are the ids whose outcome it reads.
	Operations []string
}

// DeleteAgent deletes an agent pod.
type DeleteAgent struct {
	Name string
}

// Release removes the finalizer.
type Release struct{}

func (Store) action()          {}
func (Apply) action()          {}
func (Delete) action()         {}
func (Stop) action()           {}
func (TakeSavepoint) action()  {}
func (TakeCheckpoint) action() {}
func (Cancel) action()         {}
func (SetPolicy) action()      {}
func (Activate) action()       {}
func (RunAgent) action()       {}
func (DeleteAgent) action()    {}
func (Release) action()        {}

// EventType is Normal or Warning.
type EventType string

// The event types.
const (
	Normal  EventType = "Normal"
	Warning EventType = "Warning"
)

// Reconcile is the action of warnings of a trouble that lasts, whatever is tried.
const Reconcile = "Reconcile"

// Event is told to the user.
type Event struct {
	Type   EventType
	Reason string
	// Action is what was being done, for the events API.
	Action string
	Note   string
}
