// SPDX-License-Identifier: Apache-2.0

package task

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/weir-stream/weir/runtime/state"
)

// slowWriter takes two seconds for a file, after three of keeping its pace.
type slowWriter struct {
	now  time.Time
	late error
}

func (w *slowWriter) KeepPace(context.Context, int) error {
	w.now = w.now.Add(3 * time.Second)
	return w.late
}

func (w *slowWriter) WriteFile(context.Context, []byte) (state.File, error) {
	w.now = w.now.Add(2 * time.Second)
	return state.File{}, nil
}

func (w *slowWriter) WriteShared(ctx context.Context, data []byte) (state.File, error) {
	return w.WriteFile(ctx, data)
}

// TestMeter_CountsNoWaitForThePace is about what a checkpoint is said to have spent in storage.
func TestMeter_CountsNoWaitForThePace(t *testing.T) {
	w := &slowWriter{now: time.Unix(100, 0)}
	m := &meter{FileWriter: w, now: func() time.Time { return w.now }}
	if _, err := m.WriteFile(t.Context(), make([]byte, 10)); err != nil {
		t.Fatal(err)
	}
	if _, err := m.WriteShared(t.Context(), make([]byte, 10)); err != nil {
		t.Fatal(err)
	}
	if took, bytes := time.Duration(m.time.Load()), m.bytes.Load(); took != 4*time.Second || bytes != 20 || w.now.Unix() != 110 {
		t.Errorf("%v for %d bytes until %v", took, bytes, w.now)
	}
	w.late = errors.New("given up")
	if _, err := m.WriteFile(t.Context(), make([]byte, 10)); !errors.Is(err, w.late) || m.bytes.Load() != 20 {
		t.Errorf("got %v, and %d bytes", err, m.bytes.Load())
	}
}
