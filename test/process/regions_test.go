// SPDX-License-Identifier: Apache-2.0

package process_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/weir-stream/weir/examples/ledger/checker"
	"github.com/weir-stream/weir/runtime/connector/files"
	"github.com/weir-stream/weir/runtime/contract"
	"github.com/weir-stream/weir/runtime/operator"
	"github.com/weir-stream/weir/runtime/program"
	"github.com/weir-stream/weir/runtime/record"
	"github.com/weir-stream/weir/runtime/stream"
)

// regionsMode makes this binary a job of two pipelines that nothing connects; it names the directory that both write to.
const regionsMode = "WEIR_TEST_REGIONS"

// regionsPause is the delay of a restart: long enough to see whether the other region goes on.
const regionsPause = 3 * time.Second

// runRegions is the main function of that job.
func runRegions() { program.Main(stream.Build(twoPipelines)) }

// twoPipelines are "wide", in all slots, and "narrow", in the first one.
func twoPipelines(j *stream.Job) {
	pipeline(j, "wide")
	pipeline(j, "narrow", stream.Parallelism(1))
}

// numbered is one number of one key.
type numbered struct{ Key, Seq int64 }

func pipeline(j *stream.Job, name string, opts ...stream.Option) {
	dir := os.Getenv(regionsMode)
	rows := stream.From(j, name, func() stream.Source[numbered] { return &counting{} }, opts...)
	byKey := stream.KeyBy(rows, func(n numbered) int64 { return n.Key })
	checked := stream.Process(byKey, name+"-check", func() stream.ProcessFunction[int64, numbered, numbered] {
		return &noting{file: filepath.Join(dir, name+".log"), poison: filepath.Join(dir, name+".poison")}
	}, opts...)
	sink := files.Sink(files.Output{Path: filepath.Join(dir, name)}, func(dst []byte, n numbered) []byte {
		return fmt.Appendf(dst, "{\"key\":%d,\"seq\":%d}\n", n.Key, n.Seq)
	})
	stream.To(checked, name+"-out", sink, append(opts, stream.Transactional())...)
}

// counting yields the numbers 1, 2, 3 … of the keys that are its subtask's, a few every few milliseconds.
type counting struct {
	c    *operator.Context
	next int64
	due  time.Time
}

const countingKeys = 4

func (s *counting) Open(_ context.Context, c *operator.Context) error {
	s.c, s.next, s.due = c, 1, c.Now()
	for _, e := range c.List("next") {
		var p [2]int64
		if err := json.Unmarshal(e, &p); err != nil {
			return err
		}
		if p[0] == int64(c.Subtask) {
			s.next = p[1]
		}
	}
	return nil
}

func (s *counting) Poll(rows []numbered) ([]numbered, operator.Polled, error) {
	if s.c.Now().Before(s.due) {
		return rows, operator.Polled{State: operator.Wait, WakeAt: s.due}, nil
	}
	s.due = s.c.Now().Add(2 * time.Millisecond)
	for k := int64(s.c.Subtask); k < countingKeys; k += int64(s.c.Parallelism) {
		rows = append(rows, numbered{k, s.next})
	}
	s.next++
	return rows, operator.Polled{State: operator.More}, nil
}

func (s *counting) Snapshot(record.Barrier) (operator.AsyncSnapshot, error) {
	b, err := json.Marshal([2]int64{int64(s.c.Subtask), s.next})
	return func(context.Context) ([]operator.List, error) {
		return []operator.List{{Name: "next", Mode: operator.Union, Entries: [][]byte{b}}}, err
	}, nil
}

func (s *counting) Close() error { return nil }

// noting lets a number pass that is one more than the last of its key, and writes down when it was opened and, every
// few milliseconds, that rows come. It panics once it finds its poison.
type noting struct {
	file, poison string
	out          *os.File
	now          func() time.Time
	noted        time.Time
	last         *stream.ValueState[int64, int64]
}

func (n *noting) Open(k *stream.KeyedContext[int64]) (err error) {
	if n.out, err = os.OpenFile(n.file, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600); err != nil {
		return err
	}
	n.now = k.Now
	if _, err = fmt.Fprintf(n.out, "opened %d\n", k.Subtask); err != nil {
		return err
	}
	n.last, err = stream.OpenState[int64, int64](k, "last")
	return err
}

func (n *noting) Process(k *stream.KeyedContext[int64], r numbered, out *stream.Collector[numbered]) error {
	if last, _ := n.last.Get(); r.Seq != last+1 {
		return fmt.Errorf("key %d: got %d after %d", k.Key(), r.Seq, last)
	}
	n.last.Set(r.Seq)
	out.Emit(r)
	now := n.now()
	if now.Sub(n.noted) < 5*time.Millisecond {
		return nil
	}
	n.noted = now
	if os.Remove(n.poison) == nil {
		panic("poisoned")
	}
	_, err := fmt.Fprintf(n.out, "%d\n", now.UnixMilli())
	return err
}

// notes reads what the tasks of a pipeline have written down since an earlier look: how often one was opened, and the longest time
// without any row.
func notes(t *testing.T, file string, since int64) (opened int, gap time.Duration, size int64) {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Seek(since, 0); err != nil {
		t.Fatal(err)
	}
	size = since
	last := int64(0)
	for sc := bufio.NewScanner(f); sc.Scan(); {
		size += int64(len(sc.Bytes())) + 1
		at, err := strconv.ParseInt(sc.Text(), 10, 64)
		if err != nil {
			opened++
			continue
		}
		if last > 0 {
			gap = max(gap, time.Duration(at-last)*time.Millisecond)
		}
		last = at
	}
	return opened, gap, size
}

// regionsOf are the regions of a status by name.
func regionsOf(s *contract.JobStatus) map[string]contract.RegionReport {
	m := map[string]contract.RegionReport{}
	for _, r := range s.Regions {
		m[r.Name] = r
	}
	return m
}

// Of two pipelines in one job only the one that is hit restarts: the other's tasks stay the same, rows never stop coming through them, and
// the output of both is exact.
func TestRegions_TheOtherPipelineGoesOn(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := newCluster(t, func(c *cluster) {
		c.binary = self
		c.env = []string{regionsMode + "=" + dir}
		c.cfg.Restart = contract.Restart{FixedDelay: &contract.FixedDelay{Delay: contract.Duration(regionsPause)}}
	})
	coordinator := c.coordinator(1)
	workers := c.workers(2)
	last := c.progress(0)

	strike := func(victim, other string, hit func(s *contract.JobStatus)) {
		before := c.until("both to run", func(s *contract.JobStatus) bool { return s.State == contract.JobRunning })
		regions := regionsOf(before)
		_, _, at := notes(t, filepath.Join(dir, other+".log"), 0)
		hit(before)
		down := c.until(victim+" to be down", func(s *contract.JobStatus) bool { return regionsOf(s)[victim].State == contract.RegionRestarting })
		if s := regionsOf(down)[other]; s.State != contract.RegionRunning {
			t.Errorf("region %s is %+v while %s restarts", other, s, victim)
		}
		last = c.progress(last)
		after := c.until(victim+" to run again", func(s *contract.JobStatus) bool {
			return s.State == contract.JobRunning && regionsOf(s)[victim].Restarts > regions[victim].Restarts
		})
		if after.Restarts != before.Restarts+1 {
			t.Errorf("%d restarts after %d", after.Restarts, before.Restarts)
		}
		if s := regionsOf(after)[other]; s.Attempt != regions[other].Attempt || s.Restarts != regions[other].Restarts {
			t.Errorf("region %s was %+v and is %+v", other, regions[other], s)
		}
		opened, gap, size := notes(t, filepath.Join(dir, other+".log"), at)
		if opened != 0 || gap > regionsPause/2 || size == at {
			t.Errorf("region %s: %d tasks were opened anew, the longest pause was %v, %d bytes of notes", other, opened, gap, size-at)
		}
		t.Logf("region %s restarted as %s; in %s the longest pause was %v", victim, regionsOf(after)[victim].Attempt, other, gap)
	}

	strike("narrow", "wide", func(*contract.JobStatus) {
		if err := os.WriteFile(filepath.Join(dir, "narrow.poison"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	})
	strike("wide", "narrow", func(s *contract.JobStatus) {
		// The worker of the second slot has tasks of one pipeline only.
		for _, task := range s.Tasks {
			for _, w := range workers {
				if task.Task == "wide/1" && task.Worker == w.name {
					c.kill(w)
					c.workers(1)
					return
				}
			}
		}
		t.Fatalf("no worker has wide/1: %+v", s.Tasks)
	})
	c.stop(coordinator)
	for _, name := range []string{"wide", "narrow"} {
		r, err := checker.Output(t.Context(), c.openStore(filepath.Join(dir, name)))
		if err == nil {
			err = r.Err()
		}
		if err == nil && r.Keys != countingKeys {
			err = fmt.Errorf("the output has %d keys, want %d", r.Keys, countingKeys)
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		t.Logf("%s: %s", name, r)
	}
	if _, err := os.Stat(filepath.Join(dir, "narrow.poison")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the poison is still there: %v", err)
	}
}
