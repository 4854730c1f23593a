// SPDX-License-Identifier: Apache-2.0

package envtest

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/weir-stream/weir/runtime/contract"
)

// lineage is what storage holds of one job: its head, and what the head names.
type lineage struct {
	id      string
	grant   int64
	claims  int64
	final   string
	last    int64
	newest  *contract.SnapshotInfo
	retired []contract.SnapshotInfo
	// checkpoints are the ids of those that storage keeps.
	checkpoints []int64
	operations  []contract.Operation
}

// storage stands for the object store of a namespace and for the engine that runs on it: what real coordinators would agree on
// through their heads. It outlives operators and pods. Safe for concurrent use.
type storage struct {
	mu sync.Mutex
	// lineages by the name of the StreamJob.
	lineages map[string]*lineage
	// coordinators by address.
	coordinators map[string]*coordinator
	// slots that workers of a grant offer, by name of the job and grant.
	slots map[string]int
	// made lists the ids of all jobs that were started empty.
	made []string
	// fences are the ids of the jobs whose heads agents claimed.
	fences []string
	// commands lists what coordinators were asked, each once: "Stop j/1 ID".
	commands []string
	// script says what goes wrong.
	script script
}

// script says what goes wrong. The zero value: nothing.
type script struct {
	// savepoint is why savepoints fail.
	savepoint string
	// problem keeps coordinators from starting.
	problem *contract.Problem
	// check is what agents find wrong with the next version.
	check *contract.Problem
	// judge is what agents find wrong with the state for a version, refuse what coordinators do; nil: nothing.
	judge, refuse func(contract.JobConfig) *contract.Problem
	// silent coordinators do not answer.
	silent bool
	// slow savepoints stay under way.
	slow bool
	// dispose is what keeps agents from deleting checkpoints.
	dispose *contract.Problem
	// busy jobs complete a checkpoint whenever they are looked at.
	busy bool
	// message is what coordinators say besides; changing it makes the operator look again.
	message string
}

func newStorage() *storage {
	return &storage{lineages: map[string]*lineage{}, coordinators: map[string]*coordinator{}, slots: map[string]int{}}
}

// set changes what goes wrong.
func (s *storage) set(change func(*script)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.script)
}

// lineage returns a copy of what storage holds of a job; nil when it holds nothing.
func (s *storage) lineage(name string) *lineage {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.lineages[name]
	if l == nil {
		return nil
	}
	c := *l
	c.operations, c.retired, c.checkpoints = slices.Clone(l.operations), slices.Clone(l.retired), slices.Clone(l.checkpoints)
	return &c
}

// retain puts state of an earlier job of a name there.
func (s *storage) retain(name string, l lineage) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lineages[name] = &l
}

// asked returns the commands of a type, each once, in the order in which they came first.
func (s *storage) asked(prefix string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var found []string
	for _, c := range s.commands {
		if len(c) >= len(prefix) && c[:len(prefix)] == prefix {
			found = append(found, c)
		}
	}
	return found
}

// started returns the ids of the jobs that were started empty.
func (s *storage) started() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.made)
}

// fenced returns the ids of the jobs whose heads were claimed by agents.
func (s *storage) fenced() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.fences)
}

// record remembers a command. The caller holds the lock.
func (s *storage) record(command string) {
	if !slices.Contains(s.commands, command) {
		s.commands = append(s.commands, command)
	}
}

// offer says how many slots the workers of a grant have.
func (s *storage) offer(job string, grant int64, slots int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.slots[fmt.Sprintf("%s/%d", job, grant)] = slots
}

// begin starts a coordinator at an address; one that is there goes on.
func (s *storage) begin(addr string, c *coordinator) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.coordinators[addr] == nil {
		c.storage, c.startedAt = s, time.Now()
		s.coordinators[addr] = c
	}
}

// end ends the coordinator at an address.
func (s *storage) end(addr string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.coordinators, addr)
}

// change does something to the running coordinators of a job.
func (s *storage) change(job string, do func(*coordinator)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.coordinators {
		if c.config.Name == job {
			do(c)
		}
	}
}

// finish has a bounded job read its input to the end.
func (s *storage) finish(job string) {
	s.change(job, func(c *coordinator) {
		if c.state == contract.JobRunning {
			c.state, c.line.final = contract.JobFinished, "Finished"
		}
	})
}

// fail ends a job by its restart strategy.
func (s *storage) fail(job, why string) {
	s.change(job, func(c *coordinator) {
		if c.state == contract.JobRunning {
			c.state, c.line.final = contract.JobFailed, "Failed"
			c.failure = &contract.Failure{At: time.Now(), Message: why}
		}
	})
}

// snapshot writes a snapshot of a lineage. The caller holds the lock.
func (l *lineage) snapshot(kind, operation string) *contract.SnapshotInfo {
	l.last++
	info := &contract.SnapshotInfo{ID: l.last, Kind: kind, CompletedAt: time.Now(), SizeBytes: 1000, DurationMillis: 3}
	if kind == "Savepoint" {
		info.Path = fmt.Sprintf("s3://bkt/savepoints/savepoint-%.6s-%s", l.id, operation)
	} else {
		info.Path = fmt.Sprintf("s3://bkt/%s/checkpoints/chk-%d", l.id, l.last)
		l.checkpoints = append(l.checkpoints, l.last)
	}
	l.newest = info
	l.retired = append(l.retired, *info)
	return info
}

// savepoints returns those that were completed for operations of a kind of name, such as "upgrade-".
func (l *lineage) savepoints() []contract.SnapshotInfo {
	var found []contract.SnapshotInfo
	for _, info := range l.retired {
		if info.Kind == "Savepoint" {
			found = append(found, info)
		}
	}
	return found
}

// agent does what an agent pod would.
func (s *storage) agent(task string, config contract.JobConfig, grant int64, operations []string) contract.AgentResult {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.lineages[config.Name]
	switch task {
	case "check":
		return s.agentCheck(l, config)
	case "fence":
		return s.agentFence(l, grant, operations)
	case "dispose":
		if s.script.dispose != nil {
			return contract.AgentResult{Task: contract.AgentDispose, Problem: s.script.dispose}
		}
		deleted := 0
		if l != nil {
			l.grant = max(l.grant, grant)
			deleted, l.checkpoints = len(l.checkpoints), nil
		}
		return contract.AgentResult{Task: contract.AgentDispose, OK: true, Deleted: int64(deleted)}
	default:
		return contract.AgentResult{Problem: &contract.Problem{Reason: contract.Internal, Message: "unknown task " + task}}
	}
}

func (s *storage) agentCheck(l *lineage, config contract.JobConfig) contract.AgentResult {
	r := contract.AgentResult{Task: contract.AgentCheck, OK: true}
	switch {
	case s.script.check != nil:
		r.OK, r.Problem = false, s.script.check
	case l != nil && s.script.judge != nil && s.script.judge(config) != nil:
		r.OK, r.Problem = false, s.script.judge(config)
	case config.JobID != "" && config.JobID == config.NewJobID && (l == nil || l.id != config.JobID):
	case config.JobID != "" && (l == nil || l.id != config.JobID):
		r.OK, r.Problem = false, &contract.Problem{Reason: contract.RestoreNotFound, Message: "the state of job " + config.JobID + " is gone"}
	case l != nil:
		r.JobID, r.HeadGrant, r.Newest = l.id, l.grant, l.newest
	}
	return r
}

func (s *storage) agentFence(l *lineage, grant int64, operations []string) contract.AgentResult {
	r := contract.AgentResult{Task: contract.AgentFence}
	switch {
	case l == nil:
		r.Problem = &contract.Problem{Reason: contract.RestoreNotFound, Message: "there is no state"}
		return r
	case l.grant > grant:
		r.Problem = &contract.Problem{Reason: contract.Fenced, Message: "a higher grant has the head", HeadGrant: l.grant}
		return r
	}
	l.grant = grant
	s.fences = append(s.fences, l.id)
	r.OK, r.JobID, r.HeadGrant, r.HeadFinal, r.Newest = true, l.id, l.grant, l.final, l.newest
	for _, o := range l.operations {
		if slices.Contains(operations, o.ID) {
			r.Operations = append(r.Operations, o)
		}
	}
	return r
}
