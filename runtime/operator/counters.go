// SPDX-License-Identifier: Apache-2.0

package operator

import (
	"maps"
	"sync"
)

// Counters is a small set of named counters of one subtask. The zero value is ready. Safe for
// use by several goroutines; meant for rare events, not for every row.
type Counters struct {
	mu struct {
		sync.Mutex
		n map[string]int64
	}
}

// Add adds n to the counter of that name.
func (c *Counters) Add(name string, n int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mu.n == nil {
		c.mu.n = map[string]int64{}
	}
	c.mu.n[name] += n
}

// Snapshot returns a copy of all counters.
func (c *Counters) Snapshot() map[string]int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.mu.n)
}
