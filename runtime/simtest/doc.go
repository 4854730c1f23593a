// SPDX-License-Identifier: Apache-2.0

// Package simtest runs whole jobs in one goroutine under a virtual clock, driven by a seed.
//
// The code under test is the production code of the pure cores: the life of a job, the checkpoint coordinator, the
// assignment of state, the tasks with their barrier aligners, the keyed state and the graph. The simulator is another
// shell around them: it replaces the clock, the network, the object store and the outside that the sinks write to.
//
// A seed decides everything: the graph, parallelism and settings, how long each message and each storage call takes, which
// channel a task reads next, what users ask for, and the faults. After a while faults stop, and the job has to end by itself.
//
// What must hold: the committed output is that of a sequential run; a snapshot is announced only when the head names it; ids
// ascend; nothing is deleted that is needed, and nothing is left that isn't, but for what a fault explains; the job ends.
//
// Mutations are deliberate mistakes in the protocol, made by the simulator around the cores. Each of them must be
// found within some thousand seeds, or the simulator would prove nothing. docs/simulation.md has the whole of it.
package simtest
