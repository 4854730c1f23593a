// SPDX-License-Identifier: Apache-2.0

package state

import (
	"errors"
	"strings"
	"testing"
)

func TestAccount_IsOneBudgetForAll(t *testing.T) {
	account := NewAccount(1_000_000)
	o := Options{MaxParallelism: 4, Last: 3, Account: account}
	a, first := newCounts(t, o)
	b, second := newCounts(t, o)
	fill(first, 15_000)
	if err := errors.Join(a.Err(), b.Err()); err != nil {
		t.Fatal(err)
	}
	fill(second, 20_000)
	be, ok := errors.AsType[*BudgetError](b.Err())
	if !ok || !be.Shared || be.Used != account.Used() || be.Used <= be.Budget || be.State != "count" || be.Bytes < 320_000 || be.Bytes >= be.Used {
		t.Fatalf("error is %v", b.Err())
	}
	for _, want := range []string{"all tasks of this worker", "budget of 1000000 bytes", `state "count" takes the most`, "raise the budget"} {
		if !strings.Contains(be.Error(), want) {
			t.Errorf("%q isn't in %q", want, be)
		}
	}
	a.Close()
	if err := b.Err(); err != nil {
		t.Errorf("after the other one has ended: %v", err)
	}
	b.Close()
	if n := account.Used(); n != 0 {
		t.Errorf("%d bytes are left", n)
	}
}

// TestAccount_CountsWhatSnapshotsNeed has a state that fits twice, but not with the copies of a snapshot and those of the one before.
func TestAccount_CountsWhatSnapshotsNeed(t *testing.T) {
	account := NewAccount(0)
	m, tab := newCounts(t, Options{MaxParallelism: 4, Last: 3, Account: account})
	fill(tab, 20_000)
	state := account.Used()
	account.budget = 3 * state / 2
	s := m.SealIncremental(1, 0)
	if err := m.Err(); err != nil {
		t.Fatal(err)
	}
	fill(tab, 20_000) // copies every page
	be, ok := errors.AsType[*BudgetError](m.Err())
	if !ok || be.Held < state*9/10 {
		t.Fatalf("with a copy of everything: %v", m.Err())
	}
	if _, err := s.Write(t.Context(), &sharedStore{}); err != nil {
		t.Fatal(err)
	}
	s.Release()
	if err := m.Err(); err != nil {
		t.Errorf("after the release: %v", err)
	}
	account.budget = 0
	increment(t, m, &sharedStore{}, 2, 1)
	if beside := account.Used() - state; beside < int64(cap(m.encode)) || cap(m.encode) == 0 {
		t.Errorf("%d bytes are counted beside the state, with a buffer of %d", beside, cap(m.encode))
	}
	// Nothing is kept for reuse when it is tight.
	account.budget = account.Used()
	m.SealIncremental(3, 0).Release()
	if err := m.Err(); err != nil || m.pool.bytes > 0 || account.taken.Load() > account.budget {
		t.Errorf("error %v, %d bytes for reuse, %d of %d taken", err, m.pool.bytes, account.taken.Load(), account.budget)
	}
	m.Close()
	if n := account.Used(); n != 0 || account.pooled.Load() != 0 {
		t.Errorf("%d bytes are left, %d pooled", n, account.pooled.Load())
	}
}

// TestAccount_ClosedWhileASnapshotIsWritten closes a backend whose snapshot is written afterwards.
func TestAccount_ClosedWhileASnapshotIsWritten(t *testing.T) {
	account := NewAccount(0)
	m, tab := newCounts(t, Options{MaxParallelism: 4, Last: 3, Account: account})
	fill(tab, 1000)
	s := m.SealIncremental(1, 0)
	m.Close()
	if _, err := s.Write(t.Context(), &sharedStore{}); err != nil {
		t.Fatal(err)
	}
	s.Release()
	if n := account.Used(); n != 0 {
		t.Errorf("%d bytes are left", n)
	}
}

// TestAccount_StateGoesBeforeRowsInFlight has rows held for a checkpoint, which must not fail the job: they get what the state leaves.
func TestAccount_StateGoesBeforeRowsInFlight(t *testing.T) {
	account := NewAccount(1_000_000)
	m, counts := newCounts(t, Options{MaxParallelism: 4, Last: 3, Account: account})
	account.Hold(900_000) // of a restore
	fill(counts, 10_000)
	if account.Used() <= 1_000_000 {
		t.Fatalf("%d bytes are used: the test means nothing", account.Used())
	}
	if err := m.Err(); err != nil {
		t.Errorf("the state fails for rows in flight: %v", err)
	}
	if account.TryHold(1) {
		t.Error("more rows are taken than there is room for")
	}
	account.Drop(900_000)
	if !account.TryHold(1) {
		t.Error("no rows are taken though there is room")
	}
	account.Drop(1)
	m.Close()
	if n := account.Used(); n != 0 {
		t.Errorf("%d bytes are left", n)
	}
}
