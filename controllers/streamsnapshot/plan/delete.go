// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"fmt"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
	jobplan "github.com/weir-stream/weir/controllers/streamjob/plan"
)

// delete is for a StreamSnapshot that is being deleted: with reclaimPolicy Delete an agent pod deletes the snapshot first, once nothing needs it. No
// job has to live for that.
func (p *planner) delete() {
	p.st.Message = ""
	switch {
	case p.spec.ReclaimPolicy != streamv1.ReclaimDelete, p.o.NamespaceEnding:
		p.release()
	case p.snap.Annotations[streamv1.AnnotationForceDelete] == "true":
		p.remains("the annotation " + streamv1.AnnotationForceDelete + " says so")
	case p.was.State == streamv1.SnapshotDeleting:
		p.remove()
	case p.taking():
		p.take()
		if p.settledNow() {
			p.again(soon)
		}
	case p.nothingToDelete():
		p.release()
	default:
		switch {
		case p.was.Path != "":
		case p.spec.Path != "":
			p.st.Path = string(p.spec.Path)
		default: // nobody said what became of it
			p.st.Path = p.expectedPath()
		}
		p.st.State, p.st.OperationID, p.st.Attempts, p.st.RetryAt = streamv1.SnapshotDeleting, "", 0, metav1.Time{}
		p.again(soon)
	}
}

// taking says that it is not known yet whether there will be a savepoint to delete.
func (p *planner) taking() bool {
	return p.spec.Path == "" && p.was.State == streamv1.SnapshotInProgress && p.was.OperationID != "" &&
		p.now.Sub(p.snap.DeletionTimestamp.Time) < p.timeout()+deletePatience
}

func (p *planner) settledNow() bool { return p.st.State != streamv1.SnapshotInProgress }

// nothingToDelete says that nothing was ever begun, or nothing came of it.
func (p *planner) nothingToDelete() bool {
	switch {
	case p.was.Path != "":
		return false
	case p.spec.Path != "":
		return p.was.Attempts == 0
	default:
		return p.was.OperationID == ""
	}
}

// remove has an agent pod delete the snapshot.
func (p *planner) remove() {
	if len(p.o.Users) > 0 && p.was.OperationID == "" {
		p.stall(streamv1.ReasonSnapshotInUse, p.inUse("it is needed by "+strings.Join(p.o.Users, ", ")))
		p.again(usersPoll)
		return
	}
	if p.was.OperationID == "" {
		if p.rests() {
			p.reason, p.st.Message = p.restReason(), p.was.Message
			p.stalled = p.reason == streamv1.ReasonSnapshotInUse || needsSomebody(p.reason)
			return
		}
		p.begin("remove")
		p.st.State = streamv1.SnapshotDeleting
		return
	}
	r := p.awaitAgent(RunAgent{
		Task: RemoveTask, Storage: p.was.Storage, Path: p.was.Path, JobID: p.was.JobID, Checkpoint: p.was.CheckpointID,
	})
	switch {
	case r == nil:
	case r.OK:
		note := fmt.Sprintf("Deleted %d objects of %s", r.Deleted, p.was.Path)
		if len(r.Warnings) > 0 {
			note = fmt.Sprintf("Left %s where it is: %s", p.was.Path, strings.Join(r.Warnings, "; "))
		}
		p.event(jobplan.Normal, "SnapshotDeleted", "Delete", note)
		p.release()
		return
	default:
		reason, message := describe(r.Problem)
		switch {
		case reason == streamv1.ReasonSnapshotInUse:
			message = p.inUse(message)
		case needsSomebody(reason):
			message += fmt.Sprintf("; until %s it is tried again, and then left where it is, as with the annotation %s at once",
				p.snap.DeletionTimestamp.Add(deletePatience).UTC().Format(time.RFC3339), streamv1.AnnotationForceDelete)
		}
		p.fail(reason, message)
		p.stalled = reason == streamv1.ReasonSnapshotInUse || needsSomebody(reason)
	}
	if p.st.OperationID == "" && p.reason != streamv1.ReasonSnapshotInUse && p.now.Sub(p.snap.DeletionTimestamp.Time) > deletePatience {
		p.remains(p.st.Message)
	}
}

// inUse adds to a reason what can be done.
func (p *planner) inUse(why string) string {
	return why + ": see to that first, set spec.reclaimPolicy to Retain to keep the snapshot in storage, or set the annotation " + streamv1.AnnotationForceDelete + " to true"
}

// remains lets the StreamSnapshot go without its snapshot having been deleted.
func (p *planner) remains(why string) {
	if p.was.Path != "" || p.was.OperationID != "" {
		p.event(jobplan.Warning, "SnapshotRemains", "Delete", fmt.Sprintf("The snapshot %s remains in storage: %s", p.was.Path, why))
	}
	p.release()
}

func (p *planner) release() {
	p.released = true
	p.do(Release{})
}

// timeout bounds one try of the savepoint.
func (p *planner) timeout() time.Duration {
	if t := p.spec.Timeout.Duration; t > 0 {
		return t
	}
	return defaultTimeout
}
