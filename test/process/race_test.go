// SPDX-License-Identifier: Apache-2.0

//go:build race

package process_test

// raceDetector says that this binary has the race detector in it.
const raceDetector = true
