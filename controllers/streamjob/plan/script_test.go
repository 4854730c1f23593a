// SPDX-License-Identifier: Apache-2.0

package plan_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
	"github.com/weir-stream/weir/controllers/streamjob/plan"
	"github.com/weir-stream/weir/runtime/contract"
)

// TestNext_Scripts runs the scripts of testdata: each is the life of one StreamJob in a world that does what the plans say.
func TestNext_Scripts(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		w := newWorld()
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			t.Helper()
			return w.command(t, d)
		})
		_ = filepath.Base(path)
	})
}

// command does one command of a script.
//
//	spec            replaces the spec by the YAML of the input; the generation goes up unless it is the same
//	invalid TEXT    what the operator finds wrong with the spec
//	engine          changes the report of the coordinator: YAML of contract.JobStatus, or unreachable / answers
//	candidate       replaces the report of the coordinator that stands by: YAML of contract.JobStatus
//	checkpoints     replaces what the coordinator says of checkpoints: YAML of contract.CheckpointsReport
//	agent           ends the agent pod with the result in the input (YAML of contract.AgentResult), or trouble=REASON, or runs without trouble
//	linger          keeps agent pods that have ended from disappearing when they are deleted
//	pod             trouble=REASON of a worker pod of each version, or of='s grant; alone: it may pass when the pods of another version are gone; none without
//	refuse WHAT     has the API server refuse what makes the pods of versions that have none yet, and agents: the agent pods; only for now: passes. nothing: not any more
//	wait d=DURATION lets time pass
//	delete          marks the StreamJob as being deleted
//	namespace-ends  has the namespace be deleted too
//	pause, unpause  sets and removes the annotation that keeps the operator from acting
//	image is=IMAGE  is what the operator runs from now on
//	defaults is=X   is what the configuration of the operator says from now on; versions that are stored keep what they have
//	no-snapshot     is=NAME of what restoreFrom names and isn't there; none without
//	drop-revision   grant=N deletes what is stored for a grant
//	show WHAT       prints the stability, the rollback, the history or the upgrade of the status
//	step [n=N]      plans N times (default 1), does what the plan says, prints it
func (w *world) command(t *testing.T, d *datadriven.TestData) string {
	t.Helper()
	switch d.Cmd {
	case "spec":
		return w.setSpec(d)
	case "invalid":
		w.invalid = nil
		if d.Input != "" {
			w.invalid = strings.Split(d.Input, "\n")
		}
	case "engine":
		return w.setEngine(d)
	case "candidate":
		w.candidate = &plan.Engine{Grant: w.job.Status.Grant + 1, Status: &contract.JobStatus{State: contract.JobStandby}}
		if err := yaml.UnmarshalStrict([]byte(d.Input), w.candidate.Status); err != nil {
			return err.Error()
		}
	case "checkpoints":
		if w.engine == nil {
			return "there is no coordinator"
		}
		w.engine.Checkpoints = &contract.CheckpointsReport{}
		if err := yaml.UnmarshalStrict([]byte(d.Input), w.engine.Checkpoints); err != nil {
			return err.Error()
		}
	case "agent":
		return w.endAgent(d)
	case "pod":
		w.trouble, w.troubled = nil, 0
		if d.HasArg("of") {
			d.ScanArgs(t, "of", &w.troubled)
		}
		if d.HasArg("trouble") {
			w.trouble = &plan.Trouble{Message: "as Kubernetes says"}
			d.ScanArgs(t, "trouble", &w.trouble.Reason)
			w.trouble.Alone = d.HasArg("alone")
		}
	case "refuse":
		w.refuses = refuses{versions: !d.HasArg("nothing"), agents: d.HasArg("agents"), passes: d.HasArg("passes")}
	case "wait":
		var text string
		d.ScanArgs(t, "d", &text)
		by, err := time.ParseDuration(text)
		if err != nil {
			d.Fatalf(t, "%v", err)
		}
		w.now = w.now.Add(by)
	case "delete":
		w.job.DeletionTimestamp = &metav1.Time{Time: w.now}
		w.job.Generation++
	case "namespace-ends":
		w.namespaceEnds = true
	case "forget":
		w.versions = nil
	case "pause":
		w.job.Annotations = map[string]string{streamv1.AnnotationPaused: "true"}
	case "unpause":
		w.job.Annotations = nil
	case "image":
		d.ScanArgs(t, "is", &w.image)
	case "defaults":
		d.ScanArgs(t, "is", &w.defaults)
	case "linger":
		w.linger = true
	case "no-snapshot":
		w.noSnapshot = nil
		if d.HasArg("is") {
			w.noSnapshot = &plan.Trouble{Reason: streamv1.ReasonRestoreNotFound}
			d.ScanArgs(t, "is", &w.noSnapshot.Message)
		}
	case "drop-revision":
		var grant int64
		d.ScanArgs(t, "grant", &grant)
		delete(w.versions, grant)
	case "show":
		return w.show(d)
	case "step":
		n := 1
		if d.HasArg("n") {
			d.ScanArgs(t, "n", &n)
		}
		var out strings.Builder
		for range n {
			out.WriteString(w.step())
		}
		return out.String()
	default:
		d.Fatalf(t, "unknown command %s", d.Cmd)
	}
	return ""
}

// world is a cluster with one StreamJob.
type world struct {
	job      *streamv1.StreamJob
	now      time.Time
	invalid  []string
	versions map[int64]*plan.Version
	engine   *plan.Engine
	// candidate is what the coordinator says that stands by.
	candidate *plan.Engine
	agents    []plan.Agent
	trouble   *plan.Trouble
	// troubled is the grant whose pod has the trouble; 0: that of each version.
	troubled int64
	// refuses is what can't be made, refused what the operator knows of that.
	refuses  refuses
	refused  map[int64]plan.Refusal
	unmade   map[string]plan.Refusal
	released bool
	image    string
	// defaults stand for what the configuration of the operator adds to a spec that no stored version has.
	defaults string
	// linger says that agent pods that have ended stay for a while.
	linger bool
	// namespaceEnds says that the namespace is being deleted.
	namespaceEnds bool
	// noSnapshot is set while there is none that restoreFrom names.
	noSnapshot *plan.Trouble
	// asked counts the requests of each operation id.
	asked map[string]int
}

// refuses says what the API server doesn't make.
type refuses struct{ versions, agents, passes bool }

func newWorld() *world {
	return &world{
		job: &streamv1.StreamJob{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "j", UID: "0000-11", Generation: 1}},
		now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), versions: map[int64]*plan.Version{}, asked: map[string]int{},
		refused: map[int64]plan.Refusal{}, unmade: map[string]plan.Refusal{},
	}
}

func (w *world) setSpec(d *datadriven.TestData) string {
	var spec streamv1.StreamJobSpec
	if err := yaml.UnmarshalStrict([]byte(d.Input), &spec); err != nil {
		return err.Error()
	}
	if w.job.Spec.Parallelism != 0 {
		w.job.Generation++
	}
	w.job.Spec = spec
	return fmt.Sprintf("generation %d, revision %s, policy %s", w.job.Generation, revision(&spec), policy(&spec))
}

// hash is that of the spec with the defaults of the operator, or those that it was stored with as the newest or the deployed version.
func (w *world) hash() string {
	written, st := revision(&w.job.Spec), &w.job.Status
	if st.Deployment != nil {
		for _, grant := range []int64{st.Grant, st.Deployment.Grant} {
			if v := w.versions[grant]; v != nil && v.Stored != nil && revision(v.Stored.Spec) == written {
				return v.Stored.Revision
			}
		}
	}
	return written + w.defaults
}

// revision and policy stand for the hashes.
func revision(s *streamv1.StreamJobSpec) string {
	image := ""
	if s.Program != nil {
		image = s.Program.Image
	}
	return fmt.Sprintf("p%d%s", s.Parallelism, image)
}

func policy(s *streamv1.StreamJobSpec) string {
	if s.Checkpointing == nil {
		return "none"
	}
	return s.Checkpointing.Interval.Duration.String()
}

func (w *world) setEngine(d *datadriven.TestData) string {
	if w.job.Status.Deployment == nil {
		return "nothing is deployed"
	}
	grant := w.job.Status.Deployment.Grant
	if w.engine == nil || w.engine.Grant != grant {
		w.engine = &plan.Engine{Grant: grant}
	}
	switch {
	case d.HasArg("unreachable"):
		w.engine.UnreachableSince, w.engine.Error = w.now, "connection refused"
	case d.HasArg("answers"):
		w.engine.UnreachableSince, w.engine.Error = time.Time{}, ""
	}
	if d.Input == "" {
		return ""
	}
	if w.engine.Status == nil {
		w.engine.Status = &contract.JobStatus{Epoch: contract.Epoch{Grant: grant, N: 1}, Durable: true}
	}
	w.engine.Status.Problem, w.engine.Status.StorageTrouble = nil, nil
	if err := yaml.Unmarshal([]byte(d.Input), w.engine.Status); err != nil {
		return err.Error()
	}
	return ""
}

func (w *world) endAgent(d *datadriven.TestData) string {
	if len(w.agents) == 0 {
		return "there is no agent pod"
	}
	a := &w.agents[len(w.agents)-1]
	if d.HasArg("trouble") {
		a.Trouble = &plan.Trouble{Message: "as Kubernetes says"}
		for _, arg := range d.CmdArgs {
			a.Trouble.Reason = arg.Vals[0]
		}
		return ""
	}
	if a.Trouble = nil; d.HasArg("runs") {
		return ""
	}
	a.Ended = true
	if d.HasArg("silent") {
		a.Message = "exit code 2"
		return ""
	}
	a.Result = &contract.AgentResult{}
	if err := yaml.Unmarshal([]byte(d.Input), a.Result); err != nil {
		return err.Error()
	}
	return ""
}

func (w *world) observe() plan.Observation {
	o := plan.Observation{
		Job: w.job.DeepCopy(), Invalid: w.invalid, Revision: w.hash(), PolicyRevision: policy(&w.job.Spec), Agents: w.agents,
		RestoreTrouble: w.noSnapshot, Refused: w.unmade, NamespaceEnding: w.namespaceEnds,
	}
	for g := int64(1); g < 100; g++ {
		if v := w.versions[g]; v != nil {
			c := *v
			if r, ok := w.refused[g]; ok {
				c.Refused = &r
			}
			if w.trouble != nil && v.Exists && (w.troubled == 0 || w.troubled == g) {
				c.Workers = []plan.Pod{{Name: "w-0", Trouble: w.trouble}}
			}
			o.Versions = append(o.Versions, c)
		}
	}
	if w.engine != nil && w.job.Status.Deployment != nil && w.engine.Grant == w.job.Status.Deployment.Grant {
		o.Engine = w.engine
	}
	if c := w.candidate; c != nil && c.Grant == w.job.Status.Grant+1 && w.versions[c.Grant] != nil && w.versions[c.Grant].Exists {
		o.Candidate = c
	}
	return o
}

// step plans, does what the plan says and returns what is worth telling.
func (w *world) step() string {
	p := plan.Next(w.observe(), w.now)
	w.forgetRefusals()
	var out strings.Builder
	for _, a := range p.Actions {
		fmt.Fprintf(&out, "%s\n", w.act(a))
	}
	before := summary(&w.job.Status)
	w.job.Status = p.Status
	if after := summary(&p.Status); after != before {
		out.WriteString(after)
	}
	for _, e := range p.Events {
		fmt.Fprintf(&out, "event %s %s: %s\n", e.Type, e.Reason, e.Note)
	}
	if p.Next > 0 {
		fmt.Fprintf(&out, "again in %v\n", p.Next)
	}
	if out.Len() == 0 {
		return "nothing\n"
	}
	return out.String()
}

func (w *world) act(a plan.Action) string {
	switch a := a.(type) {
	case plan.Store:
		v := w.version(a.Grant)
		s := plan.Stored{
			Revision: w.hash(), PolicyRevision: policy(&w.job.Spec), Generation: w.job.Generation,
			Spec: w.job.Spec.DeepCopy(), Image: w.image, Standby: a.Standby,
		}
		if a.From != 0 {
			if w.versions[a.From] == nil || w.versions[a.From].Stored == nil {
				panic(fmt.Sprintf("%+v, but nothing is stored there", a))
			}
			s = *w.versions[a.From].Stored
		}
		s.JobID, s.NewJobID, s.RewindTo, s.Standby = a.JobID, a.NewJobID, a.RewindTo, a.Standby
		v.Stored = &s
		return storeText(a)
	case plan.Apply:
		v := w.version(a.Grant)
		if w.refuses.versions && !v.Exists {
			w.refused[a.Grant] = w.refusal(fmt.Sprintf("StatefulSet j-%d-worker", a.Grant))
			return fmt.Sprintf("Apply %+v is refused", a)
		}
		v.Exists = true
	case plan.Delete:
		v := w.version(a.Grant)
		v.Exists = false
		if !a.KeepRevision {
			delete(w.versions, a.Grant)
		}
	case plan.RunAgent:
		if v := w.versions[a.Revision]; v == nil || v.Stored == nil {
			return fmt.Sprintf("RunAgent %s fails: nothing is stored for grant %d", a.Task, a.Revision)
		}
		if w.refuses.agents {
			w.unmade[a.Name] = w.refusal("Pod " + a.Name)
			return fmt.Sprintf("RunAgent %s of grant %d with grant %d is refused", a.Task, a.Revision, a.Grant)
		}
		w.agents = append(w.agents, plan.Agent{Name: a.Name})
		return fmt.Sprintf("RunAgent %s of grant %d with grant %d %v", a.Task, a.Revision, a.Grant, a.Operations)
	case plan.DeleteAgent:
		for i := range w.agents {
			if w.agents[i].Name == a.Name && (!w.linger || !w.agents[i].Ended) {
				w.agents = append(w.agents[:i:i], w.agents[i+1:]...)
				break
			}
		}
		return "DeleteAgent"
	case plan.Stop:
		w.asked[a.Request.OperationID]++
	case plan.TakeSavepoint:
		w.asked[a.Request.OperationID]++
	case plan.TakeCheckpoint:
		w.asked[a.Request.OperationID]++
	case plan.Cancel:
		w.asked[a.Request.OperationID]++
	case plan.Release:
		w.released = true
	}
	return fmt.Sprintf("%T %+v", a, a)[len("plan."):]
}

func (w *world) refusal(object string) plan.Refusal {
	return plan.Refusal{Message: "applying " + object + ": a policy says no", Lasts: !w.refuses.passes}
}

// forgetRefusals forgets what was refused before: what is planned now is tried again.
func (w *world) forgetRefusals() {
	w.refused, w.unmade = map[int64]plan.Refusal{}, map[string]plan.Refusal{}
}

func storeText(a plan.Store) string {
	text := fmt.Sprintf("Store {Grant:%d JobID:%s NewJobID:%s", a.Grant, a.JobID, a.NewJobID)
	if a.From != 0 {
		text += fmt.Sprintf(" From:%d RewindTo:%s", a.From, a.RewindTo)
	} else if a.RewindTo != "" {
		text += " RewindTo:" + a.RewindTo
	}
	if a.Standby {
		text += " Standby"
	}
	return text + "}"
}

// show prints a part of the status.
func (w *world) show(d *datadriven.TestData) string {
	var out strings.Builder
	s := &w.job.Status
	for _, arg := range d.CmdArgs {
		var part any
		switch arg.Key {
		case "stability":
			part = map[string]any{"stability": s.Stability, "lastStable": s.LastStable}
		case "rollback":
			part = s.Rollback
		case "history":
			part = s.History
		case "upgrade":
			part = s.LastUpgrade
		case "restore":
			part = s.Restore
		case "last":
			part = map[string]any{"checkpoint": s.LastCheckpoint, "savepoint": s.LastSavepoint}
		case "nonces":
			part = map[string]string{"restart": s.RestartNonce, "checkpoint": s.CheckpointTrigger, "savepoint": s.SavepointTrigger, "discarded": s.DiscardedState}
		}
		text, err := yaml.Marshal(part)
		if err != nil {
			return err.Error()
		}
		out.Write(text)
	}
	return out.String()
}

func (w *world) version(grant int64) *plan.Version {
	if w.versions[grant] == nil {
		w.versions[grant] = &plan.Version{Grant: grant}
	}
	return w.versions[grant]
}

// summary is what a script shows of a status.
func summary(s *streamv1.StreamJobStatus) string {
	var out strings.Builder
	fmt.Fprintf(&out, "%s grant=%d", s.Phase, s.Grant)
	if d := s.Deployment; d != nil {
		fmt.Fprintf(&out, " deployment=%d/%s%s", d.Grant, d.Revision, map[bool]string{true: "/" + string(d.Ended)}[d.Ended != ""])
	}
	if op := s.Operation; op != nil {
		fmt.Fprintf(&out, " operation=%s/%s/%s", op.ID, op.Type, op.Phase)
	}
	if r := s.Restore; r != nil {
		fmt.Fprintf(&out, " restore=%s→%s", r.RequestedMode, r.EffectiveMode)
		if r.Reason != "" {
			fmt.Fprintf(&out, " (%s)", r.Reason)
		}
	}
	if c := s.Checkpoints; c != nil {
		fmt.Fprintf(&out, " checkpoints=%d/%d", c.Completed, c.Failed)
		if f := c.LastFailure; f != nil {
			fmt.Fprintf(&out, " lastFailure=%d/%s at %s", f.ID, f.Reason, f.At.UTC().Format("15:04:05"))
		}
		if c.StartDelayMillis != nil {
			fmt.Fprintf(&out, " startDelay=%dms", *c.StartDelayMillis)
		}
		if c.IdleGapMillis != nil {
			fmt.Fprintf(&out, " idleGap=%dms", *c.IdleGapMillis)
		}
		if f := c.Slowest; f != nil {
			fmt.Fprintf(&out, " slowest=%d/%s of %s", f.ID, f.Phase, f.Task)
		}
	}
	if s.SavepointTrigger != "" {
		fmt.Fprintf(&out, " trigger=%s", s.SavepointTrigger)
	}
	out.WriteString("\n")
	for _, c := range s.Conditions {
		if c.Status != metav1.ConditionFalse || c.Type == streamv1.ConditionReady || c.Type == streamv1.ConditionCheckpointsHealthy {
			fmt.Fprintf(&out, "  %s=%s %s: %s\n", c.Type, c.Status, c.Reason, c.Message)
		}
	}
	return out.String()
}
