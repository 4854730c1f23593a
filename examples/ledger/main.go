// SPDX-License-Identifier: Apache-2.0

// Command ledger is a job that proves exactly-once processing: a source yields the sequence 1, 2, 3 … of every key,
// a keyed checker fails the job when a number is missing or comes twice, and a transactional sink writes
// every number to files. The checker of examples/ledger/check then reads those files, outside of the job.
//
// It is configured by the environment or by the arguments of the job (spec.program.args of a StreamJob), which come
// first; either way every process of the job sees the same:
//
//	LEDGER_OUT   --out   where the sink writes: a directory or s3://bucket/prefix (default "ledger-out")
//	LEDGER_KEYS  --keys  number of keys (default 100)
//	LEDGER_ROWS  --rows  numbers of each key; 0 for no end (default 0)
//	LEDGER_RATE  --rate  rows a second of each subtask of the source; 0 for as fast as possible (default 10000)
//	LEDGER_PAUSE --pause how long the checker takes for each row, to see the job under back-pressure (default 0s)
//
// An s3:// path is on the server of the job's storage, if that is one. A build with -ldflags "-X main.edition=v2" writes its
// edition into every row, so that the output shows which version of the program made it.
package main

import (
	"cmp"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"strconv"
	"time"

	"github.com/weir-stream/weir/runtime/connector/files"
	"github.com/weir-stream/weir/runtime/contract"
	"github.com/weir-stream/weir/runtime/operator"
	"github.com/weir-stream/weir/runtime/program"
	"github.com/weir-stream/weir/runtime/record"
	"github.com/weir-stream/weir/runtime/stream"
)

func main() { program.Main(stream.Build(describe)) }

// entry is one number of one key.
type entry struct {
	Key int64
	Seq int64
}

// edition of this build, for the output; empty: rows don't have it.
var edition string

func describe(j *stream.Job) {
	c := configure(j.Config.Args)
	var opts []stream.Option
	if c.rows > 0 {
		opts = append(opts, stream.Bounded())
	}
	numbers := stream.From(j, "numbers", func() stream.Source[entry] { return &source{keys: c.keys, rows: c.rows, rate: c.rate} }, opts...)
	byKey := stream.KeyBy(numbers, func(e entry) int64 { return e.Key })
	checked := stream.Process(byKey, "check", func() stream.ProcessFunction[int64, entry, entry] { return &checker{pause: c.pause} })
	out := files.Output{Path: c.out}
	if s := j.Config.Storage; s != nil && s.S3 != nil {
		out.S3 = &contract.S3{Endpoint: s.S3.Endpoint, Region: s.S3.Region}
	}
	stream.To(checked, "out", files.Sink(out, appendEntry), stream.Transactional())
}

// config is what the ledger is told.
type config struct {
	out              string
	keys, rows, rate int64
	pause            time.Duration
}

// configure reads the arguments, and the environment for what they don't say. It panics if they are wrong, which the user sees as
// the reason why the job can't be built.
func configure(args []string) config {
	c := config{}
	f := flag.NewFlagSet("ledger", flag.PanicOnError)
	f.SetOutput(io.Discard)
	f.StringVar(&c.out, "out", cmp.Or(os.Getenv("LEDGER_OUT"), "ledger-out"), "")
	f.Int64Var(&c.keys, "keys", number("LEDGER_KEYS", 100), "")
	f.Int64Var(&c.rows, "rows", number("LEDGER_ROWS", 0), "")
	f.Int64Var(&c.rate, "rate", number("LEDGER_RATE", 10_000), "")
	f.DurationVar(&c.pause, "pause", duration("LEDGER_PAUSE"), "")
	_ = f.Parse(args) // it panics
	if f.NArg() > 0 {
		panic(fmt.Sprintf("unknown argument %q", f.Arg(0)))
	}
	if c.keys < 1 || c.rows < 0 || c.rate < 0 || c.pause < 0 {
		panic(fmt.Sprintf("--keys %d, --rows %d, --rate %d or --pause %v is too small", c.keys, c.rows, c.rate, c.pause))
	}
	return c
}

// number is an integer of the environment.
func number(name string, unset int64) int64 {
	s := os.Getenv(name)
	if s == "" {
		return unset
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 {
		panic(fmt.Sprintf("%s=%q is not a number from 0 on", name, s))
	}
	return n
}

// duration is a duration of the environment; zero if it isn't there.
func duration(name string) time.Duration {
	s := os.Getenv(name)
	if s == "" {
		return 0
	}
	d, err := time.ParseDuration(s)
	if err != nil {
		panic(fmt.Sprintf("%s=%q is not a duration such as 1ms", name, s))
	}
	return d
}

// position is how far a key has come. The positions of all keys are the state of the source; each subtask is given all of
// them when the job is restored and keeps those of its keys, at any parallelism.
type position struct {
	Key  int64 `json:"k"`
	Next int64 `json:"n"`
}

const positions = "positions"

// source yields the sequences of the keys with key mod parallelism = subtask.
type source struct {
	keys, rows, rate int64

	mine  []position
	at    int
	now   func() time.Time
	start time.Time
	sent  int64
}

// Open finds the keys of this subtask.
func (s *source) Open(_ context.Context, c *operator.Context) error {
	next := map[int64]int64{}
	for _, e := range c.List(positions) {
		var ps []position
		if err := json.Unmarshal(e, &ps); err != nil {
			return fmt.Errorf("reading the positions: %w", err)
		}
		for _, p := range ps {
			next[p.Key] = p.Next
		}
	}
	for k := int64(c.Subtask); k < s.keys; k += int64(c.Parallelism) {
		s.mine = append(s.mine, position{Key: k, Next: max(next[k], 1)})
	}
	s.now, s.start = c.Now, c.Now()
	return nil
}

// Poll yields the next number of one key after the other.
func (s *source) Poll(rows []entry) ([]entry, operator.Polled, error) {
	budget := int64(record.TargetRows)
	if s.rate > 0 {
		due := int64(s.now().Sub(s.start).Seconds() * float64(s.rate))
		if budget = min(budget, due-s.sent); budget <= 0 {
			return rows, operator.Polled{State: operator.Wait, WakeAt: s.now().Add(10 * time.Millisecond)}, nil
		}
	}
	for idle := 0; int64(len(rows)) < budget && idle < len(s.mine); s.at = (s.at + 1) % len(s.mine) {
		p := &s.mine[s.at]
		if s.rows > 0 && p.Next > s.rows {
			idle++
			continue
		}
		idle = 0
		rows = append(rows, entry{p.Key, p.Next})
		p.Next++
	}
	s.sent += int64(len(rows))
	if len(rows) == 0 {
		return rows, operator.Polled{State: operator.End}, nil
	}
	return rows, operator.Polled{State: operator.More}, nil
}

// Snapshot keeps the positions.
func (s *source) Snapshot(record.Barrier) (operator.AsyncSnapshot, error) {
	b, err := json.Marshal(s.mine)
	if err != nil {
		return nil, err
	}
	return func(context.Context) ([]operator.List, error) {
		return []operator.List{{Name: positions, Mode: operator.Union, Entries: [][]byte{b}}}, nil
	}, nil
}

// Close has nothing to release.
func (s *source) Close() error { return nil }

// checker lets a number pass that is one more than the last of its key.
type checker struct {
	last *stream.ValueState[int64, int64]
	// pause is how long each row takes, owed what it hasn't slept yet.
	pause, owed time.Duration
}

// nap is the shortest sleep: shorter ones take longer than they should.
const nap = 5 * time.Millisecond

// Open registers the last number of each key.
func (c *checker) Open(k *stream.KeyedContext[int64]) (err error) {
	c.last, err = stream.OpenState[int64, int64](k, "last")
	return err
}

// Process checks a number.
func (c *checker) Process(k *stream.KeyedContext[int64], e entry, out *stream.Collector[entry]) error {
	if c.owed += c.pause; c.owed >= nap {
		time.Sleep(c.owed)
		c.owed = 0
	}
	last, _ := c.last.Get()
	if e.Seq != last+1 {
		return fmt.Errorf("key %d: got %d after %d: the stream lost or repeated a row", k.Key(), e.Seq, last)
	}
	c.last.Set(e.Seq)
	out.Emit(e)
	return nil
}

// appendEntry writes one line of the output.
func appendEntry(dst []byte, e entry) []byte {
	dst = append(dst, `{"key":`...)
	dst = strconv.AppendInt(dst, e.Key, 10)
	dst = append(dst, `,"seq":`...)
	dst = strconv.AppendInt(dst, e.Seq, 10)
	if edition != "" {
		dst = append(dst, `,"edition":`...)
		dst = strconv.AppendQuote(dst, edition)
	}
	return append(dst, "}\n"...)
}
