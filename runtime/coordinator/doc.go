// SPDX-License-Identifier: Apache-2.0

// Package coordinator is the shell around the life-cycle of one job: it owns the connections
// of the workers, the timers, the storage calls and the control API, and feeds what happens to
// the pure [job.Machine] as events, whose effects it carries out.
//
// One goroutine, the loop, owns the machine and every map of this package; everything else
// talks to it through a queue of events and never touches its data. Storage calls run beside
// the loop, bounded in number, and come back as events. [Run] blocks until the job has ended or
// its context has, and by then every goroutine it started is gone.
package coordinator
