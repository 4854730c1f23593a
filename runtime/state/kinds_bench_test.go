// SPDX-License-Identifier: Apache-2.0

package state

import (
	"math/rand/v2"
	"testing"
)

func benchKinds(b *testing.B) *kinds[int64] {
	b.Helper()
	return openKinds[int64](b, mustMemory(b, Options{MaxParallelism: 128, Last: 127}))
}

// benchKeys returns many keys with their hashes.
func benchKeys(n int) (keys []int64, hashes []uint64) {
	r := rand.New(rand.NewPCG(1, 1))
	for range n {
		k := r.Int64N(100_000)
		keys, hashes = append(keys, k), append(hashes, HashInt64(k))
	}
	return keys, hashes
}

func perSecond(b *testing.B) {
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds()/1e6, "M/s")
}

func BenchmarkValueAdd(b *testing.B) {
	k := benchKinds(b)
	keys, hashes := benchKeys(1 << 16)
	ks, err := KeysOf[int64](nil)
	if err != nil {
		b.Fatal(err)
	}
	v, err := OpenValue[int64, int64](k.m, "plain", ks, nil)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		p, _ := v.Ref(keys[i&0xffff], hashes[i&0xffff])
		*p += int64(i)
	}
	perSecond(b)
}

func BenchmarkReducingAdd(b *testing.B) {
	k := benchKinds(b)
	keys, hashes := benchKeys(1 << 16)
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		k.sum.Add(keys[i&0xffff], hashes[i&0xffff], int64(i))
	}
	perSecond(b)
}

func BenchmarkAggregatingAdd(b *testing.B) {
	k := benchKinds(b)
	keys, hashes := benchKeys(1 << 16)
	ks, err := KeysOf[int64](nil)
	if err != nil {
		b.Fatal(err)
	}
	type mean struct{ Sum, N int64 }
	a, err := OpenAggregating(k.m, "mean", ks, nil, func(acc mean, v int64) mean { return mean{acc.Sum + v, acc.N + 1} })
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		a.Add(keys[i&0xffff], hashes[i&0xffff], int64(i))
	}
	perSecond(b)
}

func BenchmarkScopedValueUpdate(b *testing.B) {
	k := benchKinds(b)
	keys, hashes := benchKeys(1 << 16)
	scope := make([]byte, 16)
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		k.value.Update(keys[i&0xffff], hashes[i&0xffff], scope, func(old int64, _ bool) int64 { return old + 1 })
	}
	perSecond(b)
}

func BenchmarkListAppend(b *testing.B) {
	k := benchKinds(b)
	keys, hashes := benchKeys(1 << 16)
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		k.scoped.Append(keys[i&0xffff], hashes[i&0xffff], nil, int64(i))
	}
	perSecond(b)
}

func BenchmarkMapSet(b *testing.B) {
	k := benchKinds(b)
	keys, hashes := benchKeys(1 << 16)
	names := []string{"one", "two", "three", "four"}
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		k.table.Set(keys[i&0xffff], hashes[i&0xffff], names[i>>16&3], int64(i))
	}
	perSecond(b)
}

// BenchmarkTimers registers a million timers of 100 000 keys at random times and fires them all, again and again.
func BenchmarkTimers(b *testing.B) {
	k := benchKinds(b)
	keys, hashes := benchKeys(1 << 20)
	r := rand.New(rand.NewPCG(2, 2))
	times := make([]int64, 1<<20)
	for i := range times {
		times[i] = r.Int64N(3_600_000)
	}
	b.ReportAllocs()
	b.ResetTimer()
	for done := 0; done < b.N; {
		n := min(1<<20, b.N-done)
		for i := range n {
			k.timers.Register(keys[i], hashes[i], times[i], nil)
		}
		for {
			if _, ok := k.timers.Pop(3_600_000); !ok {
				break
			}
		}
		done += n
	}
	perSecond(b)
}
