// SPDX-License-Identifier: Apache-2.0

// Package worker is the shell that runs tasks: it registers with the coordinator, deploys the
// tasks it is told to, connects them with each other and with those of other workers, carries
// out the asynchronous parts of their snapshots, and reports what becomes of them.
//
// A worker that loses the coordinator keeps its tasks running for the heartbeat timeout while it
// connects again, then cancels them. A coordinator that is back by then says whether it still
// counts on them; if not, they end and it deploys a new attempt.
// Messages of an older epoch or attempt than the newest seen are ignored.
package worker
