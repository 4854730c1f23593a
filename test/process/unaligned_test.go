// SPDX-License-Identifier: Apache-2.0

package process_test

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/weir-stream/weir/runtime/connector/files"
	"github.com/weir-stream/weir/runtime/contract"
	"github.com/weir-stream/weir/runtime/operator"
	"github.com/weir-stream/weir/runtime/program"
	"github.com/weir-stream/weir/runtime/record"
	"github.com/weir-stream/weir/runtime/stream"
)

const (
	// pressureMode makes this binary a job under back-pressure; it names the directory of its output.
	pressureMode = "WEIR_TEST_PRESSURE"
	// pressureRepeats lets that job take numbers that come again.
	pressureRepeats = "WEIR_TEST_PRESSURE_REPEATS"
)

// runPressure is the main function of that job.
func runPressure() { program.Main(stream.Build(underPressure)) }

const pressureKeys = 48

// underPressure numbers rows by key as fast as it can, checks them, and has a second check that is much slower.
func underPressure(j *stream.Job) {
	key := func(n numbered) int64 { return n.Key }
	rows := stream.From(j, "numbers", func() stream.Source[numbered] { return &flood{} })
	fast := stream.Process(stream.KeyBy(rows, key), "fast", func() stream.ProcessFunction[int64, numbered, numbered] { return &inOrder{} })
	slow := stream.Process(stream.KeyBy(fast, key), "slow", func() stream.ProcessFunction[int64, numbered, numbered] {
		return &inOrder{pauseEvery: 32}
	})
	sink := files.Sink(files.Output{Path: os.Getenv(pressureMode)}, func(dst []byte, n numbered) []byte {
		return fmt.Appendf(dst, "{\"key\":%d,\"seq\":%d}\n", n.Key, n.Seq)
	})
	stream.To(slow, "out", sink, stream.Transactional())
}

// flood yields the numbers 1, 2, 3 … of its keys without a pause. The keys are in the state, so that they can move to other subtasks.
type flood struct {
	next map[int64]int64
	list []int64
}

func (s *flood) Open(_ context.Context, c *operator.Context) error {
	s.next = map[int64]int64{}
	for _, e := range c.List("next") {
		var key, next int64
		if _, err := fmt.Sscan(string(e), &key, &next); err != nil {
			return err
		}
		s.next[key] = next
	}
	if c.RestoredFrom == 0 {
		for k := int64(c.Subtask); k < pressureKeys; k += int64(c.Parallelism) {
			s.next[k] = 1
		}
	}
	for k := range s.next {
		s.list = append(s.list, k)
	}
	return nil
}

func (s *flood) Poll(rows []numbered) ([]numbered, operator.Polled, error) {
	for _, k := range s.list {
		for range 8 {
			rows = append(rows, numbered{k, s.next[k]})
			s.next[k]++
		}
	}
	return rows, operator.Polled{State: operator.More}, nil
}

func (s *flood) Snapshot(record.Barrier) (operator.AsyncSnapshot, error) {
	l := operator.List{Name: "next"}
	for k, n := range s.next {
		l.Entries = append(l.Entries, fmt.Appendf(nil, "%d %d", k, n))
	}
	return func(context.Context) ([]operator.List, error) { return []operator.List{l}, nil }, nil
}

func (s *flood) Close() error { return nil }

// inOrder lets a number pass that is one more than the last of its key, and pauses for a millisecond every so many.
type inOrder struct {
	pauseEvery, seen int64
	// repeats says that numbers may come again, as after the restore of a checkpoint that wasn't aligned at all.
	repeats bool
	last    *stream.ValueState[int64, int64]
}

func (o *inOrder) Open(k *stream.KeyedContext[int64]) (err error) {
	o.repeats = os.Getenv(pressureRepeats) != ""
	o.last, err = stream.OpenState[int64, int64](k, "last")
	return err
}

func (o *inOrder) Process(k *stream.KeyedContext[int64], r numbered, out *stream.Collector[numbered]) error {
	switch last, _ := o.last.Get(); {
	case r.Seq == last+1:
		o.last.Set(r.Seq)
	case r.Seq > last || !o.repeats:
		return fmt.Errorf("key %d: got %d after %d", k.Key(), r.Seq, last)
	}
	out.Emit(r)
	if o.seen++; o.pauseEvery > 0 && o.seen%o.pauseEvery == 0 {
		time.Sleep(time.Millisecond) // the slowness is what is tested
	}
	return nil
}

// Under back-pressure barriers overtake what is queued; workers are killed, and the job goes on from such a checkpoint at
// other parallelisms. Nothing is lost, doubled or out of order.
func TestUnaligned_UnderBackPressure(t *testing.T) {
	t.Parallel()
	tests := map[string]func(*contract.JobConfig, *contract.Checkpointing){
		"at once": func(_ *contract.JobConfig, c *contract.Checkpointing) {
			c.Alignment = &contract.Alignment{Mode: contract.Unaligned}
		},
		"after a timeout": func(_ *contract.JobConfig, c *contract.Checkpointing) {
			c.Alignment = &contract.Alignment{Mode: contract.AlignedThenUnaligned, Timeout: contract.Duration(20 * time.Millisecond)}
		},
		"at once, one after the other": func(_ *contract.JobConfig, c *contract.Checkpointing) {
			c.Alignment, c.Interval = &contract.Alignment{Mode: contract.Unaligned}, contract.Duration(20*time.Millisecond)
		},
	}
	for name, set := range tests {
		t.Run(name, func(t *testing.T) {
			p := newPressure(t, set)
			p.strikeAndMove()
			if p.overtaken == 0 {
				t.Error("no checkpoint held anything that was in flight: this tested nothing")
			}
			p.c.judgeKeys(pressureKeys)
			t.Logf("checkpoints held %d bytes that were in flight", p.overtaken)
		})
	}
}

// Several checkpoints are in flight at a time while workers and coordinators are killed, and the job moves to other parallelisms. Aligned ones
// lose and double nothing; without alignment rows may come twice after a restore, and none is lost.
func TestSeveralInFlight_KilledThenMoved(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		mode        contract.Mode
		incremental bool
	}{
		"exactly once":              {mode: contract.ExactlyOnce},
		"exactly once, incremental": {mode: contract.ExactlyOnce, incremental: true},
		"at least once":             {mode: contract.AtLeastOnce},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			p := newPressure(t, func(cfg *contract.JobConfig, c *contract.Checkpointing) {
				c.Mode, c.MaxConcurrent, c.Interval = tc.mode, 3, contract.Duration(20*time.Millisecond)
				cfg.StateBackend = &contract.StateBackend{Incremental: tc.incremental}
			})
			p.strikeAndMove()
			if p.atOnce < 2 {
				t.Errorf("at most %d checkpoints were in flight at a time: this tested nothing", p.atOnce)
			}
			if tc.mode == contract.ExactlyOnce {
				p.c.judgeKeys(pressureKeys)
			} else {
				p.c.judgeContains(pressureKeys)
			}
			t.Logf("up to %d checkpoints were in flight at a time", p.atOnce)
		})
	}
}

// pressure is the job under back-pressure, run as processes.
type pressure struct {
	c           *cluster
	coordinator *process
	workers     []*process
	// id is a checkpoint that completed, restarts how many there were of this coordinator.
	id, restarts int64
	// overtaken is what barriers overtook in all checkpoints, atOnce how many of them were in flight at a time.
	overtaken int64
	atOnce    int
}

// newPressure prepares the job; set changes its configuration.
func newPressure(t *testing.T, set func(*contract.JobConfig, *contract.Checkpointing)) *pressure {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return &pressure{c: newCluster(t, func(c *cluster) {
		c.binary = self
		c.cfg.MaxParallelism = 64
		set(&c.cfg, c.cfg.Checkpointing)
		c.env = []string{pressureMode + "=" + c.output}
		if c.cfg.Checkpointing.Mode == contract.AtLeastOnce {
			c.env = append(c.env, pressureRepeats+"=1")
		}
	})}
}

// strikeAndMove kills workers, and then goes on at other parallelisms from a checkpoint that a killed coordinator left behind, up to a stop.
func (p *pressure) strikeAndMove() {
	c := p.c
	c.t.Helper()
	p.coordinator, p.workers = c.coordinator(1), c.workers(2)
	p.id = c.progress(0)
	p.strike(3)
	for i, parallelism := range []int{3, 1} {
		p.look()
		c.kill(p.coordinator)
		for _, w := range p.workers {
			c.kill(w)
		}
		c.cfg.Parallelism = parallelism
		p.coordinator, p.workers = c.coordinator(2+i), c.workers(parallelism)
		s := c.until("the job at another parallelism", func(s *contract.JobStatus) bool {
			return s.State == contract.JobRunning && s.RestoredFrom != nil && s.Parallelism == parallelism
		})
		if s.RestoredFrom.ID < p.id {
			c.t.Errorf("restored from checkpoint %d, there was %d", s.RestoredFrom.ID, p.id)
		}
		p.restarts = s.Restarts
		p.id = c.progress(p.id)
		p.strike(1)
	}
	p.look()
	c.stop(p.coordinator)
}

// strike kills one worker after the other.
func (p *pressure) strike(times int) {
	c := p.c
	c.t.Helper()
	for range times {
		time.Sleep(time.Duration(c.rnd.IntN(300)) * time.Millisecond) // a random moment of the checkpoint cycle, not a synchronisation
		victim := c.rnd.IntN(len(p.workers))
		c.kill(p.workers[victim])
		p.workers[victim] = c.workers(1)[0]
		p.restarts++
		c.restarted(p.restarts)
		p.id = c.progress(p.id)
	}
}

// look takes down what the coordinator says of the checkpoints up to now.
func (p *pressure) look() {
	p.c.t.Helper()
	r, err := p.c.client.Checkpoints(p.c.t.Context())
	if err != nil {
		p.c.t.Fatal(err)
	}
	p.overtaken += r.Totals.ChannelBytes
	for i := range r.Recent {
		n := 0 // in flight when this one was triggered
		at := r.Recent[i].TriggeredAt
		for j := range r.Recent {
			o := &r.Recent[j]
			if end := o.TriggeredAt.Add(time.Duration(o.DurationMillis) * time.Millisecond); !o.TriggeredAt.After(at) && (end.After(at) || i == j) {
				n++
			}
		}
		p.atOnce = max(p.atOnce, n)
	}
}
