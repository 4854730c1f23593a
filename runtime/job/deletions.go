// SPDX-License-Identifier: Apache-2.0

package job

import (
	"slices"
	"time"
)

const (
	// againToken is that of a deletion that is tried again. The other ones of a job that goes on are positive, and those of its end negative.
	againToken = 0
	// maxOwed is how many deletions that failed are remembered. What is forgotten is left to a sweep.
	maxOwed = 1000
)

// deletions has objects deleted that nothing refers to. What storage refuses is owed, and tried again when storage deletes something else, at the latest at the
// end of the job: a store that fails for a while leaves nothing behind. Only what a coordinator owes when it is gone, or could not delete at the very end, is
// left to a sweep.
type deletions struct {
	underway map[int64]DeleteObjects
	// owed are those that have failed, oldest first; again says that the oldest is being tried again.
	owed  []DeleteObjects
	again bool
	// atEnd counts those of the end of the job.
	atEnd int64
}

// deleteObjects has objects deleted.
func (m *Machine) deleteObjects(d DeleteObjects) {
	if m.deletions.underway == nil {
		m.deletions.underway = map[int64]DeleteObjects{}
	}
	m.deletions.underway[d.Token] = d
	m.emit(d)
}

// deleteAtEnd has objects deleted with the end of the job, which waits for that.
func (m *Machine) deleteAtEnd(d DeleteObjects) {
	m.deletions.atEnd++
	d.Token = -m.deletions.atEnd
	m.ending.deleting[d.Token] = true
	m.deleteObjects(d)
}

// deleteAllOwed tries all that is owed once more with the end of the job, but what is being tried just now.
func (m *Machine) deleteAllOwed() {
	o := &m.deletions
	now := 0
	if o.again {
		now = 1
		m.ending.deleting[againToken] = true
	}
	owed := slices.Clone(o.owed[now:])
	o.owed = o.owed[:now]
	for _, d := range owed {
		m.deleteAtEnd(d)
	}
}

// HandleDeleted takes the outcome of DeleteObjects. After an error it is tried again later.
func (m *Machine) HandleDeleted(now time.Time, token int64, err error) {
	if m.exited {
		return
	}
	m.settle(token, err)
	if token > againToken && m.snapshots != nil {
		m.snapshots.HandleDeleted(now, token)
		m.pump(now)
	}
	if e := m.ending; e != nil {
		if !m.deletions.again || token != againToken {
			delete(e.deleting, token)
		}
		if e.over() {
			m.leave()
		}
	}
}

// settle notes how a deletion ended, and goes on to the oldest one that is owed if it ended well.
func (m *Machine) settle(token int64, err error) {
	o := &m.deletions
	d, known := o.underway[token]
	delete(o.underway, token)
	switch {
	case token == againToken:
		if o.again = false; err == nil && len(o.owed) > 0 {
			o.owed = slices.Delete(o.owed, 0, 1)
		}
	case err != nil && known:
		o.owed = append(o.owed, d)
		if over := len(o.owed) - maxOwed; over > 0 && !o.again {
			o.owed = slices.Delete(o.owed, 0, over)
		}
	}
	if err == nil {
		m.deleteOwed()
	}
}

// deleteOwed tries the oldest deletion again that has failed. The end of the job waits for it.
func (m *Machine) deleteOwed() {
	o := &m.deletions
	if len(o.owed) > 0 && !o.again {
		o.again = true
		m.deleteObjects(DeleteObjects{Token: againToken, Prefix: o.owed[0].Prefix, Paths: o.owed[0].Paths})
	}
	if o.again && m.ending != nil {
		m.ending.deleting[againToken] = true
	}
}
