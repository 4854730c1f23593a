// SPDX-License-Identifier: Apache-2.0

package expr

import (
	"math/rand/v2"
	"testing"
)

// BenchmarkEval shows what a row costs; the last one is left to the interpreter.
func BenchmarkEval(b *testing.B) {
	for name, text := range map[string]string{
		"arithmetic": "a + b * 2 - 7", "comparison": "x > 1.5 && a != 3", "conditional": "p ? a : b", "lower": "s.lowerAscii()",
		"contains": "s.contains('ell')", "concat": "s + '-' + t", "convert": "string(a)", "interpreted": "s.reverse()",
	} {
		b.Run(name, func(b *testing.B) {
			env, err := NewEnv(testSchema)
			if err != nil {
				b.Fatal(err)
			}
			p, err := env.Compile(text)
			if err != nil {
				b.Fatal(err)
			}
			e, err := p.NewEvaluator()
			if err != nil {
				b.Fatal(err)
			}
			batch := randomBatch(rand.New(rand.NewPCG(1, 1)), 1024)
			for i, v := range batch.Columns[0].Ints {
				batch.Columns[0].Ints[i], batch.Columns[1].Ints[i] = v%1000, batch.Columns[1].Ints[i]%1000
			}
			b.ReportAllocs()
			for b.Loop() {
				e.node.eval(batch)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*batch.Len()), "ns/row")
		})
	}
}
