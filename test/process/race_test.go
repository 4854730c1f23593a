// SPDX-License-Identifier: Apache-2.0

//go:build race

package process_test

// shadow is how often memory counts in tests that run their own binary: the race detector keeps notes about what is touched, which take about as much again.
const shadow = 2
