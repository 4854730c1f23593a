// SPDX-License-Identifier: Apache-2.0

package streamjob

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/weir-stream/weir/controllers/streamjob/plan"
)

// forgetWritesAfter is how long the cache is waited for to show a write. It bounds what an object that somebody else deleted right
// after the write can hold up.
const forgetWritesAfter = 5 * time.Second

// ref names an object among those of one StreamJob.
type ref struct{ kind, name string }

func refOf(o client.Object) ref { return ref{kindOf(o), o.GetName()} }

// kindOf returns the kind of an object; unlike the kind in it, it is always there.
func kindOf(o client.Object) string {
	name := fmt.Sprintf("%T", o)
	return name[strings.LastIndexByte(name, '.')+1:]
}

// write is something the operator did to an object and the cache may not show yet.
type write struct {
	// version is what the object had after the write; empty for a deletion, of the object with this uid.
	version string
	uid     types.UID
	at      time.Time
}

// applied is a configuration that was applied, and the print of the object that came of it.
type applied struct{ config, print string }

// memory is what the operator remembers of one StreamJob between passes. Nothing in it is needed to decide rightly after a restart.
// It belongs to the pass that runs: there is only one at a time for each StreamJob.
type memory struct {
	uid types.UID
	// version is the resource version of the StreamJob after the last write to it.
	version string
	writes  map[ref]write
	applied map[ref]applied
	creds   credentials
	// refused is what the API server refused the last time.
	refused refusals
	told    Told
	// released says that the StreamJob was let go, whatever the cache still shows.
	released bool
	// releasing says that it was to be, and that the answer leaves open whether it was. farewell are the events of that.
	releasing bool
	farewell  []plan.Event
}

// memories are those of all StreamJobs, safe for concurrent use.
type memories struct {
	mu   sync.Mutex
	jobs map[types.NamespacedName]*memory
}

// of returns the memory of a StreamJob, a new one when another of the same name was there before.
func (m *memories) of(key types.NamespacedName, uid types.UID) *memory {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.jobs == nil {
		m.jobs = map[types.NamespacedName]*memory{}
	}
	mem := m.jobs[key]
	if mem == nil || mem.uid != uid {
		mem = &memory{uid: uid, writes: map[ref]write{}, applied: map[ref]applied{}}
		m.jobs[key] = mem
	}
	return mem
}

func (m *memories) drop(key types.NamespacedName) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.jobs, key)
}

// wrote remembers a write, deleted a deletion.
func (m *memory) wrote(o client.Object, now time.Time) {
	m.writes[refOf(o)] = write{version: o.GetResourceVersion(), at: now}
}

func (m *memory) deleted(o client.Object, now time.Time) {
	m.writes[refOf(o)] = write{uid: o.GetUID(), at: now}
	delete(m.applied, refOf(o))
}

// current says whether the objects as the cache has them show all that was written to them.
func (m *memory) current(objects map[ref]client.Object, now time.Time) bool {
	all := true
	for r, w := range m.writes {
		if w.shown(objects[r]) || now.Sub(w.at) > forgetWritesAfter {
			delete(m.writes, r)
			continue
		}
		all = false
	}
	return all
}

func (w write) shown(o client.Object) bool {
	if w.version == "" {
		return o == nil || o.GetUID() != w.uid || isDeleting(o)
	}
	return o != nil && !older(o.GetResourceVersion(), w.version)
}

// older says that resource version a was before b. Versions that cannot be compared are taken for newer, so that nothing waits
// for ever.
func older(a, b string) bool {
	if b == "" {
		return false
	}
	order, err := resourceversion.CompareResourceVersion(a, b)
	return err == nil && order < 0
}
