// SPDX-License-Identifier: Apache-2.0

package coordinator

import (
	"errors"
	"sync/atomic"

	"github.com/weir-stream/weir/runtime/storage/memstore"
)

// errCrashed is what a process that is gone gets from the storage.
var errCrashed = errors.New("the process is gone")

// storageFault is a way in which one call of the storage goes wrong; with crash, no later call is made any more.
type storageFault struct {
	fault memstore.Fault
	crash bool
}

func storageFaults() map[string]storageFault {
	return map[string]storageFault{
		"an error":      {fault: memstore.FailBefore(nil)},
		"a lost answer": {fault: memstore.FailAfter(nil)},
		"a late write":  {fault: memstore.Hold(), crash: true},
		"a crash":       {fault: memstore.FailBefore(nil), crash: true},
		"after a write": {fault: memstore.FailAfter(nil), crash: true},
	}
}

// faultyStore says what became of a fault: hit once the call was made; over, set by the test, ends it.
type faultyStore struct {
	storageFault
	hit, over atomic.Bool
}

// faulty gives a coordinator a storage of which the call with number at, the first is 1, goes wrong.
func (c *cluster) faulty(o *Options, fault storageFault, at int) *faultyStore {
	f := &faultyStore{storageFault: fault}
	o.Store = c.store.Client(memstore.Options{Faults: func(_, _ string, call int) memstore.Fault {
		switch {
		case call < at || f.over.Load():
			return memstore.None()
		case call == at:
			f.hit.Store(true)
			return fault.fault
		case fault.crash:
			return memstore.FailBefore(errCrashed)
		default:
			return memstore.None()
		}
	}})
	return f
}

// lost says that the coordinator crashed.
func (f *faultyStore) lost() bool { return f.crash && f.hit.Load() }
