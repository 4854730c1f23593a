// SPDX-License-Identifier: Apache-2.0

// Command bench measures how fast the engine is, and checks that what it counted is right: whole jobs with
// coordinator, workers and checkpoints to a local directory, each run in a process of its own. docs/benchmarks.md says
// how to use it and what came out.
//
// Times and counts are taken inside of the job, where nothing in between can flatter them: sources and sinks write
// them into their operator state, and the last snapshot of the run is read back. The rate is what the sources emitted
// and the sinks took, from the first poll of a source to the moment the last sink was done.
package main
