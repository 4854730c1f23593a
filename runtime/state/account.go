// SPDX-License-Identifier: Apache-2.0

package state

import "sync/atomic"

// Account is the memory that several backends may take together, such as those of all tasks of a process, and rows in flight beside them. Safe for use by
// any goroutine. A nil Account counts nothing and bounds nothing.
type Account struct {
	budget int64
	// taken is all memory of the backends and what their snapshots need beside it; pooled is the part of it that is kept for reuse.
	taken, pooled atomic.Int64
	// flight is the part of it that rows in flight take. The state of the job goes before them: it never exceeds the budget because of them.
	flight atomic.Int64
}

// NewAccount returns an account with a budget in bytes; 0 for no bound.
func NewAccount(budget int64) *Account { return &Account{budget: budget} }

// Used is the memory in use, in bytes: tables, copies held for open snapshots, buffers of snapshots that are being written, and what is
// remembered of those that were, and rows in flight; without pages kept for reuse.
func (a *Account) Used() int64 {
	if a == nil {
		return 0
	}
	return a.taken.Load() - a.pooled.Load()
}

func (a *Account) take(n int64) {
	if a != nil {
		a.taken.Add(n)
	}
}

// Budget is what may be used, in bytes; 0 for no bound.
func (a *Account) Budget() int64 {
	if a == nil {
		return 0
	}
	return a.budget
}

// Hold counts n bytes of rows in flight: those that a barrier has overtaken, until they are written, or that a restore gives out again.
func (a *Account) Hold(n int64) {
	a.take(n)
	if a != nil {
		a.flight.Add(n)
	}
}

// TryHold is like Hold, but counts nothing and says false if that would exceed the budget.
func (a *Account) TryHold(n int64) bool {
	a.Hold(n)
	if a == nil || a.budget <= 0 || a.Used() <= a.budget {
		return true
	}
	a.Drop(n)
	return false
}

// Drop takes back n bytes of rows in flight.
func (a *Account) Drop(n int64) { a.Hold(-n) }

// state is the memory in use without rows in flight.
func (a *Account) state() int64 { return a.Used() - a.flight.Load() }

func (a *Account) pool(n int64) {
	if a != nil {
		a.pooled.Add(n)
	}
}

// full says whether the budget is used up, pages kept for reuse included.
func (a *Account) full() bool { return a != nil && a.budget > 0 && a.taken.Load() > a.budget }

// over says whether the state exceeds the budget.
func (a *Account) over() bool { return a != nil && a.budget > 0 && a.state() > a.budget }

// meter counts the memory of one backend, in its account too.
type meter struct {
	n       atomic.Int64
	account *Account
}

// Add counts n bytes more.
func (m *meter) Add(n int64) {
	m.n.Add(n)
	m.account.take(n)
}

// Load returns the count.
func (m *meter) Load() int64 { return m.n.Load() }

// beside counts memory that snapshots need beside the tables. It is not the owner's; whoever takes it gives it back.
func (m *Memory) beside(n int64) { m.opts.Account.take(n) }

// Close gives the memory back to the account. Snapshots that are still being written may end after it; nothing else may be
// called but their methods.
func (m *Memory) Close() {
	m.placements.close()
	m.closeBuffer()
	m.opts.Account.pool(-m.pool.bytes)
	m.opts.Account.take(-m.bytes.Load())
	m.bytes.account, m.pool.account = nil, nil
}
