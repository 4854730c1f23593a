// SPDX-License-Identifier: Apache-2.0

package main

import (
	"testing"

	"github.com/weir-stream/weir/cmd/internal/programtest"
)

func TestMain(m *testing.M) { programtest.Main(m, main) }

// A command that waits for nothing of which a signal could be the end is ended by it as any program is.
func TestMain_ASignalEndsACommandThatDoesNotLookAtSignals(t *testing.T) {
	programtest.SignalEnds(t, func(pipe string) []string { return []string{"validate", pipe} })
}
