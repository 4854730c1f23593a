// SPDX-License-Identifier: Apache-2.0

package program

import (
	"bufio"
	"context"
	"io"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/go-logr/logr"

	"github.com/weir-stream/weir/runtime/contract"
	"github.com/weir-stream/weir/runtime/coordinator"
	"github.com/weir-stream/weir/runtime/operator"
	"github.com/weir-stream/weir/runtime/storage"
	"github.com/weir-stream/weir/runtime/storage/filestore"
	"github.com/weir-stream/weir/runtime/stream"
)

// doomed is a job whose tasks fail as soon as they get a row.
func doomed(j *stream.Job) {
	stream.ForEach(stream.From(j, "in", func() stream.Source[int64] { return &counting{} }), "out", func(int64) { panic("boom") })
}

// counting yields one row after the other.
type counting struct{ n int64 }

func (*counting) Open(context.Context, *operator.Context) error { return nil }

func (c *counting) Poll(rows []int64) ([]int64, operator.Polled, error) {
	c.n++
	return append(rows, c.n), operator.Polled{State: operator.More}, nil
}

func (*counting) Close() error { return nil }

// A signal ends a job that fails again and again, with what it has got so far: neither the delay of a restart nor tasks that don't run make it come to
// nothing.
func TestRunLocal_ASignalEndsACrashLoop(t *testing.T) {
	tests := map[string]struct {
		delay  time.Duration
		signal os.Signal
	}{
		"in the delay of a restart":             {time.Hour, syscall.SIGTERM},
		"Ctrl-C in the delay":                   {time.Hour, os.Interrupt},
		"somewhere in a quick loop":             {time.Millisecond, syscall.SIGTERM},
		"somewhere in a quick loop with Ctrl-C": {time.Millisecond, os.Interrupt},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			signals := make(chan os.Signal, 1)
			read, write := io.Pipe()
			o := LocalOptions{
				Job: contract.JobConfig{
					Namespace: "default", Name: "doomed",
					Checkpointing: &contract.Checkpointing{Interval: contract.Duration(time.Hour)},
					Restart:       contract.Restart{FixedDelay: &contract.FixedDelay{Delay: contract.Duration(tc.delay)}},
					Storage:       &contract.Storage{Volume: &contract.Volume{Path: dir}},
				},
				Build: stream.Build(doomed), Out: write, Err: io.Discard, Signals: signals, Log: logr.Discard(),
			}
			ended := make(chan error, 1)
			go func() {
				ended <- RunLocal(t.Context(), o)
				_ = write.Close()
			}()
			var output strings.Builder
			var sent atomic.Bool
			for lines := bufio.NewScanner(read); lines.Scan(); {
				output.WriteString(lines.Text() + "\n")
				if strings.Contains(lines.Text(), "boom") && !sent.Swap(true) {
					signals <- tc.signal
				}
			}
			select {
			case err := <-ended:
				if err != nil {
					t.Errorf("it ended with %v", err)
				}
			case <-time.After(30 * time.Second):
				t.Fatal("it goes on")
			}
			if !strings.Contains(output.String(), resumable) {
				t.Errorf("it doesn't say what becomes of the job:\n%s", output.String())
			}
			s, err := filestore.Open(storage.FileConfig{Dir: dir})
			if err != nil {
				t.Fatal(err)
			}
			found, err := coordinator.FindJob(t.Context(), s, o.Job)
			if err != nil || found == nil || found.Head.Final != nil {
				t.Errorf("the head says %+v, %v: it should go on the next time", found, err)
			}
		})
	}
}
