// SPDX-License-Identifier: Apache-2.0

package dataflow

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/weir-stream/weir/runtime/contract"
	"github.com/weir-stream/weir/runtime/operator"
	"github.com/weir-stream/weir/runtime/record"
)

// again is a source that decodes the same lines over and over.
type again struct {
	fakeSource
	all  [][]byte
	next int
	left int
	last record.Batch
}

func (a *again) Open(context.Context, *operator.Context) error { return nil }
func (a *again) Poll() (operator.Polled, error) {
	for a.left > 0 && !a.decoder.Full() {
		if err := a.decoder.Append(a.all[a.next]); err != nil {
			return operator.Polled{}, err
		}
		a.next = (a.next + 1) % len(a.all)
		a.left--
	}
	if a.last != nil {
		a.last.Release()
	}
	a.last = a.decoder.Take()
	p := operator.Polled{State: operator.More, Batch: a.last}
	if a.left == 0 {
		p.State = operator.End
	}
	return p, nil
}

// benchmarkJob runs a job in one goroutine over b.N lines, everything included from decoding to encoding.
func benchmarkJob(b *testing.B, cfg contract.JobConfig, lines []string) {
	b.Helper()
	g, err := Build(cfg, &fakeFiles{discard: true})
	if err != nil {
		b.Fatal(err)
	}
	source, bytes := g.Nodes[0], 0
	src := &again{left: b.N}
	for _, l := range lines {
		src.all = append(src.all, []byte(l))
		bytes += len(l)
	}
	made, ok := source.NewSource().(*fakeSource)
	if !ok {
		b.Fatal("the first node is no files source")
	}
	src.decoder = made.decoder
	source.NewSource = func() operator.Source { return src }
	b.SetBytes(int64(bytes / len(lines)))
	b.ReportAllocs()
	b.ResetTimer()
	if err := run(b, g, nil); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "lines/s")
}

func BenchmarkWordCount(b *testing.B) {
	r := rand.New(rand.NewPCG(1, 2))
	lines := make([]string, 50000)
	for i := range lines {
		words := ""
		for range 4 + r.IntN(2) {
			words += fmt.Sprintf(" %s%c%c", vocabulary[r.IntN(len(vocabulary))], 'a'+r.IntN(26), 'a'+r.IntN(26))
		}
		lines[i] = words
	}
	benchmarkJob(b, wordCount("line.lowerAscii().words()"), lines)
}

func BenchmarkFilterMapJSON(b *testing.B) {
	var lines []string
	for i := range 1000 {
		lines = append(lines, fmt.Sprintf(`{"id":%d,"user":"user-%06d","action":"view","page":"/products/category/item-%d","price":%d.95,"ok":true,`+
			`"agent":"Mozilla/5.0 (X11; Linux x86_64) Gecko","region":"eu-central-1","tags":["a","b"]}`, 1000000+i, i, i%777, i%40))
	}
	benchmarkJob(b, job(
		jsonSource("src", contract.Column{Name: "id", Type: contract.IntColumn}, contract.Column{Name: "user", Type: contract.StringColumn},
			contract.Column{Name: "page", Type: contract.StringColumn}, contract.Column{Name: "price", Type: contract.FloatColumn}),
		filterOf("cheap", "src", "price < 20.0 && page.startsWith('/products')"),
		mapOf("gross", "cheap", "id", "id", "user", "user.upperAscii()", "gross", "price * 1.19"),
		out("out", "gross"),
	), lines)
}
