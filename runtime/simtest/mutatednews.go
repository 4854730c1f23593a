// SPDX-License-Identifier: Apache-2.0

package simtest

// completed is the snapshot that a task is told to be complete. Under CompleteMeansNewest it takes the news for that of the last one that it took.
func (t *taskRun) completed(checkpoint int64) int64 {
	if t.w.mutation == CompleteMeansNewest {
		return max(checkpoint, t.taken)
	}
	return checkpoint
}

// givenUp is the snapshot that a task is told to be given up. Under AnyAbortThaws a frozen task takes the news for that of the one that froze it.
func (t *taskRun) givenUp(checkpoint int64) int64 {
	if t.w.mutation == AnyAbortThaws && t.core.Frozen() {
		return t.frozenBy
	}
	return checkpoint
}
