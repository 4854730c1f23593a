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

// pressureMode makes this binary a job under back-pressure; it names the directory of its output.
const pressureMode = "WEIR_TEST_PRESSURE"

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
	last             *stream.ValueState[int64, int64]
}

func (o *inOrder) Open(k *stream.KeyedContext[int64]) (err error) {
	o.last, err = stream.OpenState[int64, int64](k, "last")
	return err
}

func (o *inOrder) Process(k *stream.KeyedContext[int64], r numbered, out *stream.Collector[numbered]) error {
	if last, _ := o.last.Get(); r.Seq != last+1 {
		return fmt.Errorf("key %d: got %d after %d", k.Key(), r.Seq, last)
	}
	o.last.Set(r.Seq)
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
	for name, alignment := range map[string]contract.Alignment{
		"at once":         {Mode: contract.Unaligned},
		"after a timeout": {Mode: contract.AlignedThenUnaligned, Timeout: contract.Duration(20 * time.Millisecond)},
	} {
		t.Run(name, func(t *testing.T) { unalignedUnderPressure(t, alignment) })
	}
}

func unalignedUnderPressure(t *testing.T, alignment contract.Alignment) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := newCluster(t, func(c *cluster) {
		c.binary = self
		c.env = []string{pressureMode + "=" + c.output}
		c.cfg.MaxParallelism = 64
		c.cfg.Checkpointing.Alignment = &alignment
	})
	coordinator := c.coordinator(1)
	workers := c.workers(2)
	id, restarts := c.progress(0), int64(0)
	strike := func(times int) {
		for range times {
			time.Sleep(time.Duration(c.rnd.IntN(300)) * time.Millisecond) // a random moment of the checkpoint cycle, not a synchronisation
			victim := c.rnd.IntN(len(workers))
			c.kill(workers[victim])
			workers[victim] = c.workers(1)[0]
			restarts++
			c.restarted(restarts)
			id = c.progress(id)
		}
	}
	strike(3)
	overtaken := int64(0)
	for i, parallelism := range []int{3, 1} {
		overtaken += overtakenBytes(t, c)
		c.kill(coordinator)
		for _, w := range workers {
			c.kill(w)
		}
		c.cfg.Parallelism = parallelism
		coordinator = c.coordinator(2 + i)
		workers = c.workers(parallelism)
		s := c.until("the job at another parallelism", func(s *contract.JobStatus) bool {
			return s.State == contract.JobRunning && s.RestoredFrom != nil && s.Parallelism == parallelism
		})
		if s.RestoredFrom.ID < id {
			t.Errorf("restored from checkpoint %d, there was %d", s.RestoredFrom.ID, id)
		}
		restarts = s.Restarts
		id = c.progress(id)
		strike(1)
	}
	if overtaken += overtakenBytes(t, c); overtaken == 0 {
		t.Error("no checkpoint held anything that was in flight: this tested nothing")
	}
	c.stop(coordinator)
	c.judgeKeys(pressureKeys)
	t.Logf("checkpoints held %d bytes that were in flight", overtaken)
}

// overtakenBytes is what barriers overtook in the checkpoints of this coordinator.
func overtakenBytes(t *testing.T, c *cluster) int64 {
	t.Helper()
	r, err := c.client.Checkpoints(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return r.Totals.ChannelBytes
}
