// SPDX-License-Identifier: Apache-2.0

package process_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/weir-stream/weir/runtime/contract"
	"github.com/weir-stream/weir/runtime/operator"
	"github.com/weir-stream/weir/runtime/program"
	"github.com/weir-stream/weir/runtime/record"
	"github.com/weir-stream/weir/runtime/stream"
)

// growthMode makes this binary a job whose state grows without end.
const growthMode = "WEIR_TEST_GROWTH"

// runGrowth is the main function of that job.
func runGrowth() { program.Main(stream.Build(growing)) }

func growing(j *stream.Job) {
	keys := stream.From(j, "keys", func() stream.Source[int64] { return &fresh{} })
	seen := stream.Process(stream.KeyBy(keys, func(k int64) int64 { return k }), "seen",
		func() stream.ProcessFunction[int64, int64, int64] { return &everSeen{} })
	stream.ForEach(seen, "end", func(int64) {})
}

// fresh yields keys that have not been there, slowly enough for some checkpoints before there are too many.
type fresh struct{ next, step int64 }

func (f *fresh) Open(_ context.Context, c *operator.Context) error {
	f.next, f.step = int64(c.Subtask), int64(c.Parallelism)
	return nil
}

func (f *fresh) Poll(rows []int64) ([]int64, operator.Polled, error) {
	time.Sleep(time.Millisecond) // the slowness is meant
	for range record.TargetRows {
		rows = append(rows, f.next)
		f.next += f.step
	}
	return rows, operator.Polled{State: operator.More}, nil
}

func (f *fresh) Close() error { return nil }

// everSeen keeps a number for each key.
type everSeen struct {
	seen *stream.ValueState[int64, int64]
}

func (e *everSeen) Open(k *stream.KeyedContext[int64]) (err error) {
	e.seen, err = stream.OpenState[int64, int64](k, "seen")
	return err
}

func (e *everSeen) Process(*stream.KeyedContext[int64], int64, *stream.Collector[int64]) error {
	n, _ := e.seen.Get()
	e.seen.Set(n + 1)
	return nil
}

// A job whose keys never end fails with an error that names the budget and the remedy, and until then no worker takes more than three times the budget beside
// what it takes without any state: full checkpoints, which hold copies, and incremental ones alike.
func TestMemoryBudget_BoundsTheProcess(t *testing.T) {
	const budget = 64 << 20
	binary := withoutRaceDetector(t)
	for name, incremental := range map[string]bool{"full checkpoints": false, "incremental ones": true} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t, func(c *cluster) {
				c.binary, c.env = binary, []string{growthMode + "=1"}
				c.cfg.StateBackend = &contract.StateBackend{MemoryBudget: budget, Incremental: incremental}
				c.cfg.Checkpointing.Interval = contract.Duration(50 * time.Millisecond)
				c.cfg.Restart = contract.Restart{None: &struct{}{}}
			})
			coordinator := c.coordinator(1)
			workers := c.workers(1)
			c.until("a worker that waits for another", func(s *contract.JobStatus) bool { return len(s.Workers) == 1 })
			base := peakMemory(t, workers[0].cmd.Process.Pid)
			workers = append(workers, c.workers(1)...)
			c.ended(coordinator)
			for _, part := range []string{"above the memory budget of 67108864 bytes", `state "seen" takes the most`, "raise the budget, spread the job over more workers, or keep less state"} {
				if !names(coordinator.log.tail(), part) {
					t.Errorf("the end of the job isn't told with %q:\n%s", part, coordinator.log.tail())
				}
			}
			if h, _ := headOf(t, c.dir); h == nil || len(h.Checkpoints) == 0 {
				t.Error("no checkpoint was completed before the end: none held copies")
			} else {
				t.Logf("checkpoint %d was the last", h.Checkpoints[len(h.Checkpoints)-1].ID)
			}
			for _, w := range workers {
				c.ended(w)
				usage, ok := w.cmd.ProcessState.SysUsage().(*syscall.Rusage)
				if !ok {
					t.Fatal("the system doesn't say what a process took")
				}
				peak := usage.Maxrss << 10
				if limit := base + 3*budget; peak > limit || peak < budget/2 {
					t.Errorf("%s took %d MiB, want at most %d, and not as little as if there had been no state", w.name, peak>>20, limit>>20)
				}
				t.Logf("%s took %d MiB, %d of them without state", w.name, peak>>20, base>>20)
			}
		})
	}
}

// withoutRaceDetector returns this binary as it is without the race detector: what that notes about memory would count as memory.
func withoutRaceDetector(t *testing.T) string {
	t.Helper()
	if !raceDetector {
		self, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		return self
	}
	path := filepath.Join(t.TempDir(), "growth.test")
	if out, err := exec.CommandContext(t.Context(), "go", "test", "-c", "-o", path, ".").CombinedOutput(); err != nil {
		t.Fatalf("building the job without the race detector: %v\n%s", err, out)
	}
	return path
}

// peakMemory is the most memory that a process had so far, in bytes.
func peakMemory(t *testing.T, pid int) int64 {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`VmHWM:\s+(\d+) kB`).FindSubmatch(b)
	if m == nil {
		t.Fatalf("no VmHWM in\n%s", b)
	}
	kb, err := strconv.ParseInt(string(m[1]), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return kb << 10
}
