// SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"errors"
	"fmt"
)

// ErrFenced means that another coordinator took over the job: exit, and touch nothing.
var ErrFenced = errors.New("fenced: another coordinator owns the job")

// SwapOutcome says what became of an attempt to swap the head.
type SwapOutcome uint8

// The outcomes of a swap.
const (
	// SwapUnknown means that it can't be told: the read-back failed too. Try the very same head again.
	SwapUnknown SwapOutcome = iota
	// Swapped means that the head is in place.
	Swapped
	// NotSwapped means that the old head is still in place. Only the very same head may be tried again: the lost
	// request may still arrive.
	NotSwapped
	// Raced means that a claim came too late behind a swap of an owner that it outranks: read the head and claim again.
	Raced
	// Fenced means that another coordinator owns the job.
	Fenced
)

// String returns the name of the outcome.
func (o SwapOutcome) String() string {
	return [...]string{"Unknown", "Swapped", "NotSwapped", "Raced", "Fenced"}[o]
}

// ResolveSwap tells from the head that was read back what became of the attempt to swap in mine. It is to be used
// after every answer of a swap that isn't plain success: a status code alone says nothing, since a client
// may have repeated a request whose first answer was lost.
func ResolveSwap(readBack Head, found bool, readErr error, mine Head) SwapOutcome {
	switch {
	case readErr != nil:
		return SwapUnknown
	case !found && mine.Seq == 1:
		return NotSwapped
	case !found:
		// Somebody deleted the head. Nothing may be built on that.
		return SwapUnknown
	case readBack.Owner == mine.Owner && readBack.Seq >= mine.Seq:
		return Swapped
	case readBack.Owner == mine.Owner:
		return NotSwapped
	case readBack.Epoch.Compare(mine.Epoch) >= 0:
		return Fenced
	case readBack.Seq < mine.Seq:
		return NotSwapped // the head that a claim is to replace
	default:
		return Raced
	}
}

// Claim returns the head that makes owner the owner of the job: its successor with a new epoch. The new head has to be
// swapped in before anything else is done. jobID is that of a new job; a head that is found must agree with it.
func Claim(head Head, found bool, grant int64, owner, jobID string) (Head, error) {
	if owner == "" || grant < 1 || jobID == "" {
		return Head{}, fmt.Errorf("claiming the head: owner, job id and a grant from 1 on are needed, got %q, %q, %d", owner, jobID, grant)
	}
	if !found {
		return Head{Format: HeadFormat, Seq: 1, Owner: owner, Epoch: Epoch{Grant: grant, N: 1}, JobID: jobID, ReservedUntil: 1}, nil
	}
	if head.JobID != jobID {
		return Head{}, fmt.Errorf("claiming the head: it belongs to job id %q, not to %q", head.JobID, jobID)
	}
	if head.Epoch.Grant > grant {
		return Head{}, fmt.Errorf("claiming the head with grant %d: grant %d has it, and only a higher one can take the job over: %w", grant, head.Epoch.Grant, ErrFenced)
	}
	next := head.Clone()
	next.Format = HeadFormat
	next.Seq++
	next.Owner = owner
	if grant == head.Epoch.Grant {
		next.Epoch.N++
		return next, nil
	}
	next.Epoch = Epoch{Grant: grant, N: 1}
	return next, nil
}
