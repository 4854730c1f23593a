// SPDX-License-Identifier: Apache-2.0

// Package program is what a binary that runs jobs is made of: the coordinator, a worker, or a
// whole job on this machine, as commands around a function that builds the job's graph. A
// program written with the SDK calls [Main]; the stock engine and the weir command line use the same parts.
package program
