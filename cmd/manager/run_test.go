// SPDX-License-Identifier: Apache-2.0

package main

import (
	"testing"

	"github.com/weir-stream/weir/controllers/streamjob"
)

func TestSnapshots_AreWorkedOnAsConcurrentlyAsJobs(t *testing.T) {
	if got := snapshots(&options{concurrency: 17}, &streamjob.Reconciler{}).Concurrency; got != 17 {
		t.Errorf("got %d, want 17", got)
	}
}
