// SPDX-License-Identifier: Apache-2.0

// Package job is the life of a job within one incarnation of its coordinator: it claims the head, waits
// for workers, decides what to restore, deploys the tasks, lets package checkpoint take snapshots, restarts
// after failures and ends the job. It is a pure state machine: [Machine] takes events with the time and
// yields [Effect] values that a shell carries out, whose outcomes come back as events. The simulator is another such shell.
//
// Rules for a shell:
//   - Carry out effects in the order in which Effects returns them, after every Handle call.
//   - At most one SwapHead is in flight; the machine waits for HandleSwapped before the next.
//   - Call HandleTime at NextWake, or later.
//   - After Exit make no more effects and end.
package job
