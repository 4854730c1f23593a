// SPDX-License-Identifier: Apache-2.0

package worker

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weir-stream/weir/runtime/state"
)

// TestFiles_KeepPace writes three seconds' worth beyond what is free, and gives up another one.
func TestFiles_KeepPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := files{pace: state.CheckpointPace()}
		paceFree, paceRate, paceMost := int(f.pace.Free), int(f.pace.Rate), f.pace.Most
		start := time.Now()
		keep := func(n int, want time.Duration) {
			t.Helper()
			if err := f.KeepPace(t.Context(), n); err != nil {
				t.Fatal(err)
			}
			if took := time.Since(start); took != want {
				t.Errorf("after %v, want %v", took, want)
			}
		}
		keep(paceFree, 0)
		keep(3*paceRate, 0)
		keep(paceRate, 3*time.Second)
		keep(100*paceRate, 4*time.Second)
		keep(1, paceMost) // however much was written
		keep(100*paceRate, paceMost)

		savepoint := files{}
		if err := savepoint.KeepPace(t.Context(), 100*paceRate); err != nil || time.Since(start) != paceMost {
			t.Errorf("a savepoint waited, or %v", err)
		}
	})
}

func TestFiles_KeepPaceEndsWithTheSnapshot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := files{pace: &state.Pace{Rate: 1, Most: time.Hour}}
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(time.Second, func() { cancel(errAborted) })
		start := time.Now()
		if err := f.KeepPace(ctx, 1000); err != nil {
			t.Fatal(err)
		}
		if err := f.KeepPace(ctx, 1); !errors.Is(err, errAborted) || time.Since(start) != time.Second {
			t.Errorf("%v after %v", err, time.Since(start))
		}
	})
}
