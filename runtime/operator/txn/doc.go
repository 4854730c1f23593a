// SPDX-License-Identifier: Apache-2.0

// Package txn writes to the outside exactly once, in transactions: what is written between two barriers becomes visible when
// the snapshot of the second one is complete, and never else.
//
// A connector implements [Sink] and [Transaction], whose methods don't block; a program may implement [Client] and [Session], whose methods do,
// and have them driven by [Blocking]. The engine's part is [Operator], or [Manager] for an operator that writes beside other work. It keeps these rules:
//
//   - At most one transaction is open. It begins with the first batch after a barrier, so that no batch means no transaction.
//   - At the barrier it is sealed. Before the snapshot is acknowledged it is pre-committed: from then on its handles, which are in the snapshot,
//     are all that is needed to commit it, by any process.
//   - A snapshot holds the handles of all transactions that are not committed yet. One that is given up leaves its transactions to the next.
//   - When snapshot n is complete, everything sealed by snapshots up to n is committed. That may be heard late, twice or never.
//   - A restore commits what the restored snapshot holds, each handle by one subtask, and then the first subtask aborts what else this job has
//     left open, in this and in older attempts. Transactions of other jobs are never aborted, so a job that starts from the savepoint of
//     another one leaves that alone.
//   - A transaction that the outside has dropped before it was committed is lost data. It ends the job, see [ExpiredError].
//
// Without snapshots there is one transaction, which is committed at the end of the input.
package txn
