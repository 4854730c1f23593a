// SPDX-License-Identifier: Apache-2.0

package files

import (
	"bytes"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/go-logr/logr"

	"github.com/weir-stream/weir/runtime/connector/format"
	"github.com/weir-stream/weir/runtime/contract"
	"github.com/weir-stream/weir/runtime/dataflow/columns"
	"github.com/weir-stream/weir/runtime/dataflow/lines"
	"github.com/weir-stream/weir/runtime/operator"
	"github.com/weir-stream/weir/runtime/record"
)

// BenchmarkSource reads text lines of 60 bytes, one an iteration.
func BenchmarkSource(b *testing.B) {
	line := []byte("the quick brown fox jumps over the lazy dog, and then again\n")
	const perFile = 1 << 20
	dir := b.TempDir()
	for i := 0; i*perFile < b.N; i++ {
		n := min(perFile, b.N-i*perFile)
		if err := os.WriteFile(fmt.Sprintf("%s/%d", dir, i), bytes.Repeat(line, n), 0o600); err != nil {
			b.Fatal(err)
		}
	}
	schema := columns.NewSchema(columns.Field{Name: lines.TextColumn, Kind: columns.String})
	newSource, err := Connectors{}.FilesSource("in", &contract.FilesSource{Path: dir}, func() format.Decoder { return lines.NewText(schema) })
	if err != nil {
		b.Fatal(err)
	}
	wake := make(chan struct{}, 1)
	s := newSource()
	b.ReportAllocs()
	b.ResetTimer()
	err = s.Open(b.Context(), &operator.Context{
		Parallelism: 1, Now: time.Now, Log: logr.Discard(), Counters: &operator.Counters{},
		Wake: func() {
			select {
			case wake <- struct{}{}:
			default:
			}
		},
	})
	rows := 0
	for state := operator.More; err == nil && state != operator.End; {
		var p operator.Polled
		p, err = s.Poll()
		if state = p.State; state == operator.Wait {
			<-wake
		}
		if p.Batch != nil {
			rows += p.Batch.Len()
		}
	}
	if err != nil || rows != b.N {
		b.Fatal(err, rows)
	}
	b.StopTimer()
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds()/1e6, "Mlines/s")
}

// BenchmarkSink writes rows of about 30 bytes to a directory, one an iteration, with a snapshot each million rows.
func BenchmarkSink(b *testing.B) {
	schema := columns.NewSchema(columns.Field{Name: "word", Kind: columns.String}, columns.Field{Name: "count", Kind: columns.Int})
	batch := schema.NewBatch()
	for i := range record.TargetRows {
		batch.Columns[0].AppendText([]byte("something"))
		batch.Columns[1].Ints = append(batch.Columns[1].Ints, int64(i))
	}
	batch.SetLen(record.TargetRows)
	newSink, err := Connectors{}.FileSink("out", &contract.FileSink{Path: b.TempDir()}, func() format.Encoder { return lines.NewJSONEncoder(schema) })
	if err != nil {
		b.Fatal(err)
	}
	wake := make(chan struct{}, 1)
	s := newSink().(*sink)
	c := sinkContext("out", "1", nil)
	c.Wake = func() {
		select {
		case wake <- struct{}{}:
		default:
		}
	}
	if err := s.Open(b.Context(), c); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	b.ResetTimer()
	id := int64(0)
	for n := 0; n < b.N; n += record.TargetRows {
		st, err := s.Process(0, batch)
		for err == nil && st == operator.Paused {
			<-wake
			st, err = s.Resume()
		}
		if err == nil && n%(1<<20) == 0 {
			id++
			async, _ := s.Snapshot(record.Barrier{Checkpoint: id})
			if _, err = async(b.Context()); err == nil {
				err = s.NotifyComplete(b.Context(), id)
			}
		}
		if err != nil {
			b.Fatal(err)
		}
	}
	b.StopTimer()
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds()/1e6, "Mrows/s")
}
