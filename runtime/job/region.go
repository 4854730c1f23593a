// SPDX-License-Identifier: Apache-2.0

package job

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/weir-stream/weir/runtime/checkpoint"
	"github.com/weir-stream/weir/runtime/protocol"
)

// region is a set of vertices that edges connect, in either direction. No row leaves it, so it can be restarted alone.
type region struct {
	// name is that of its first vertex.
	name     string
	vertices []string
	tasks    []protocol.TaskID
	// attempt is that of its newest deployment, zero before the first.
	attempt protocol.Attempt
	// down says that it is to be deployed, or is being: all its tasks are canceled first.
	down bool
	// deployments under this coordinator.
	deployments int64
}

// regions cuts the plan into regions, in order of their first vertices, and says for each vertex which one it is in.
func (p *Plan) regions() (rs []*region, of map[string]int) {
	root := map[string]string{}
	find := func(v string) string {
		for root[v] != v {
			v = root[v]
		}
		return v
	}
	for i := range p.Vertices {
		v := &p.Vertices[i]
		root[v.Name] = v.Name
		for _, in := range v.Inputs {
			if _, known := root[in.Vertex]; known {
				root[find(in.Vertex)] = find(v.Name)
			}
		}
	}
	of = map[string]int{}
	index := map[string]int{}
	for i := range p.Vertices {
		v := &p.Vertices[i]
		k, known := index[find(v.Name)]
		if !known {
			k = len(rs)
			index[find(v.Name)] = k
			rs = append(rs, &region{name: v.Name, down: true})
		}
		r := rs[k]
		of[v.Name] = k
		r.vertices = append(r.vertices, v.Name)
		for s := range v.Parallelism {
			r.tasks = append(r.tasks, protocol.TaskID{Vertex: v.Name, Subtask: s})
		}
	}
	return rs, of
}

// Region is the name of the region that a vertex is in: that of the first vertex of those that edges connect with it. It is empty for a
// vertex that isn't in the plan.
func (p *Plan) Region(vertex string) string {
	rs, of := p.regions()
	if i, known := of[vertex]; known {
		return rs[i].name
	}
	return ""
}

// regionOf returns the region of a task.
func (m *Machine) regionOf(id protocol.TaskID) *region { return m.regions[m.regionIndex[id.Vertex]] }

// downRegions lists the regions that don't run.
func (m *Machine) downRegions() []*region {
	return slices.DeleteFunc(slices.Clone(m.regions), func(r *region) bool { return !r.down })
}

// allDown says that no region runs.
func (m *Machine) allDown() bool {
	return !slices.ContainsFunc(m.regions, func(r *region) bool { return !r.down })
}

// someDown says that a region doesn't run.
func (m *Machine) someDown() bool {
	return slices.ContainsFunc(m.regions, func(r *region) bool { return r.down })
}

// over says that nothing of the region runs any more.
func (m *Machine) over(r *region) bool {
	return !slices.ContainsFunc(r.tasks, func(id protocol.TaskID) bool {
		t := m.tasks[id]
		return t != nil && !t.over()
	})
}

// takeDown cancels regions that run, and with them what is being deployed; the restart, or the end of the job, follows once they are
// over. It adds to regions that are being canceled already.
func (m *Machine) takeDown(now time.Time, scope []*region, r checkpoint.Reason, why string) {
	a := m.attempt
	var hit []*region
	for _, g := range scope {
		if !g.down {
			g.down = true
			hit = append(hit, g)
		}
	}
	switch {
	case a != nil && a.phase != canceling:
		hit = m.downRegions() // also those being deployed
	case len(hit) == 0:
		return
	case a == nil:
		a = &attempt{id: m.newest}
		m.attempt = a
	}
	m.boundAlone(now)
	a.phase, a.readAgainAt, a.deadline = canceling, time.Time{}, now.Add(m.o.CancelTimeout)
	m.stopDeadline = time.Time{}
	if m.state == StateRestarting {
		m.message = m.restartText(m.lastFailure.Error)
	}
	m.stopSnapshots(now, hit, r, why)
	m.pump(now)
	m.cancelTasks(hit)
	m.checkCanceled(now)
}

// boundAlone limits how long regions go on while others are down. No snapshot is completed then, and what their sinks prepared for one that was
// given up is committed with the next: it must not expire before, for then it would be lost. Once all regions are down, it is
// aborted and made again. A region that comes back and fails before a checkpoint has completed doesn't get the time anew.
func (m *Machine) boundAlone(now time.Time) {
	timeout, c := m.o.Plan.TransactionTimeout, m.o.Config.Checkpointing
	switch {
	case m.allDown():
		m.aloneUntil = time.Time{}
	case m.aloneUntil.IsZero() && timeout > 0 && c != nil:
		// It may have been begun an interval and a checkpoint timeout ago, and the next checkpoint may take as long after the restart to come and complete.
		limit := orDefault(c.Timeout, defaultCheckpointTimeout)
		m.aloneUntil = now.Add(max(timeout-2*(limit+max(c.Interval, c.MinPause).D()), 0))
	}
}

// aloneEnds is until when regions may go on while others are down; zero for no bound, or if none is down.
func (m *Machine) aloneEnds() time.Time {
	if !m.someDown() {
		return time.Time{}
	}
	return m.aloneUntil
}

// committed says that the transactions of sinks that run are being committed: those that are open now are young.
func (m *Machine) committed() {
	if !m.someDown() {
		m.aloneUntil = time.Time{}
	}
}

// defaultCheckpointTimeout is that of package checkpoint.
const defaultCheckpointTimeout = 10 * time.Minute

// stopSnapshots gives up what is in flight; the tasks of regions that go on are told.
func (m *Machine) stopSnapshots(now time.Time, gone []*region, r checkpoint.Reason, why string) {
	if m.allDown() {
		m.snapshots.Suspend(now, r, why)
		return
	}
	var tasks []protocol.TaskID
	for _, g := range gone {
		tasks = append(tasks, g.tasks...)
	}
	m.snapshots.Interrupt(now, r, why, tasks)
}

// cancelTasks tells the workers to end the tasks of regions.
func (m *Machine) cancelTasks(regions []*region) {
	for _, r := range regions {
		m.toTasks(r.tasks, func(a protocol.Attempt, _ []protocol.TaskID) protocol.ToWorker {
			return protocol.ToWorker{Cancel: &protocol.Cancel{Attempt: a, Region: r.name}}
		})
	}
}

// maxNamed bounds the regions that the head and messages name.
const maxNamed = 8

// namesOf names regions, for people and for the head; empty for all of them.
func (m *Machine) namesOf(regions []*region) []string {
	if len(regions) == len(m.regions) {
		return nil
	}
	var names []string
	for _, r := range regions {
		names = append(names, r.name)
	}
	if n := len(names); n > maxNamed {
		names = append(names[:maxNamed], fmt.Sprintf("and %d more", n-maxNamed))
	}
	return names
}

// restartText says what is being restarted and why.
func (m *Machine) restartText(why string) string {
	names := m.namesOf(m.downRegions())
	switch len(names) {
	case 0:
		return "restarting after: " + why
	case 1:
		return "restarting region " + names[0] + " while the others go on, after: " + why
	default:
		return "restarting regions " + strings.Join(names, ", ") + " while the others go on, after: " + why
	}
}
