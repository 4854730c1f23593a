// SPDX-License-Identifier: Apache-2.0

package state

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"unsafe"
)

// failing is storage that fails some times before it works.
type failing struct {
	fileStore
	left int
}

func (f *failing) WriteFile(ctx context.Context, data []byte) (File, error) {
	if f.left > 0 {
		f.left--
		return File{}, errors.New("no room")
	}
	return f.fileStore.WriteFile(ctx, data)
}

// packedModel is a backend with states of integer keys, whose keys and values get longer over time, beside a map that holds the same. Snapshots of it are written, given up, tried again
// and written twice while it changes.
type packedModel struct {
	t       *testing.T
	r       *rand.Rand
	o       Options
	m       *Memory
	tables  []*Table
	model   []map[int64]string
	special bool // the key that has no place in pages occurs
	keys    int
	base    int64
	// valBits and keyBits are how long values and keys may be.
	valBits, keyBits int
	open             []*modelSnapshot
	givenUp          sync.WaitGroup
	packed, whole    int
}

// modelSnapshot is an open one, and what the state was when it was sealed.
type modelSnapshot struct {
	s     *Snapshot
	want  map[string]string
	store *failing
	files []File
	wg    sync.WaitGroup
	stop  context.CancelFunc
}

func TestPacked_Model(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	n := 12
	if testing.Short() {
		n = 5
	}
	packed, whole := 0, 0
	for i := range n {
		p := newPackedModel(t, rand.New(rand.NewPCG(seed, uint64(i))), i%5 == 0)
		for range 60 {
			p.step()
		}
		p.end()
		packed, whole = packed+p.packed, whole+p.whole
		if t.Failed() {
			t.Fatalf("run %d", i)
		}
	}
	t.Logf("%d files with packed entries, %d without", packed, whole)
	if packed == 0 || whole == 0 {
		t.Error("both kinds should have been written")
	}
}

func newPackedModel(t *testing.T, r *rand.Rand, special bool) *packedModel {
	o := Options{MaxParallelism: []int{1, 2, 7, 128}[r.IntN(4)], Account: NewAccount(0)}
	o.Last = o.MaxParallelism - 1
	p := &packedModel{
		t: t, r: r, o: o, m: mustMemory(t, o), special: special, keys: []int{10, 3000, 20_000}[r.IntN(3)], base: []int64{0, 0, -5, 1 << 30}[r.IntN(4)], valBits: 4,
	}
	for i := range 1 + r.IntN(3) {
		d := Descriptor{Name: fmt.Sprint("state", i), Keys: Int64Keys, ValueSize: []int{8, 8, 24}[r.IntN(3)], KeyType: "int64", ValueType: "bytes"}
		p.tables = append(p.tables, mustTable(t, p.m, d))
		p.model = append(p.model, map[int64]string{})
	}
	mustTable(t, p.m, Descriptor{Name: "empty", Keys: BytesKeys})
	return p
}

func (p *packedModel) step() {
	if len(p.open) < 3 {
		p.begin()
	}
	if p.r.IntN(5) == 0 {
		p.valBits = min(64, p.valBits+p.r.IntN(9))
	}
	if p.r.IntN(12) == 0 {
		p.keyBits = min(62, p.keyBits+p.r.IntN(20))
	}
	for range p.r.IntN(4000) {
		p.change()
	}
	if p.r.IntN(40) == 0 {
		for i, t := range p.tables {
			for k := range p.model[i] {
				t.DeleteInt64(k, HashInt64(k))
			}
			clear(p.model[i])
		}
	}
	if len(p.open) == 0 || p.r.IntN(3) == 0 {
		return
	}
	i := p.r.IntN(len(p.open))
	s := p.open[i]
	p.open = slices.Delete(p.open, i, i+1)
	if p.r.IntN(4) == 0 {
		s.stop()
		if p.r.IntN(2) == 0 { // released beside what goes on
			p.givenUp.Go(func() {
				s.wg.Wait()
				s.s.Release()
			})
			return
		}
	}
	p.check(s)
}

// begin seals, and has the snapshot written by nobody, by one who tries again, or by two.
func (p *packedModel) begin() {
	ctx, cancel := context.WithCancel(p.t.Context())
	s := &modelSnapshot{want: p.contents(), store: &failing{left: max(0, p.r.IntN(6)-3)}, stop: cancel, s: p.m.Seal()}
	p.open = append(p.open, s)
	writers := p.r.IntN(4)
	if writers > 0 {
		s.wg.Go(func() {
			for {
				files, err := s.s.Write(ctx, s.store)
				if err == nil {
					s.files = files
				}
				if err == nil || ctx.Err() != nil || errors.Is(err, errSpent) {
					return
				}
			}
		})
	}
	if writers == 3 {
		s.wg.Go(func() { _, _ = s.s.Write(ctx, &fileStore{}) })
	}
}

// change puts or deletes an entry.
func (p *packedModel) change() {
	i := p.r.IntN(len(p.tables))
	t, k := p.tables[i], p.base+int64(p.r.IntN(p.keys))
	switch {
	case p.special && p.r.IntN(300) == 0:
		k = emptyKey
	case p.keyBits > 0 && p.r.IntN(200) == 0:
		k += 1 << p.keyBits
	}
	if p.r.IntN(10) < 2 {
		t.DeleteInt64(k, HashInt64(k))
		delete(p.model[i], k)
		return
	}
	v := p.r.Uint64N(16)
	if p.r.IntN(50) == 0 {
		v = p.r.Uint64() >> (64 - p.valBits)
	}
	ptr, _ := t.RefInt64(k, HashInt64(k))
	b := unsafe.Slice((*byte)(ptr), t.desc.ValueSize)
	binary.LittleEndian.PutUint64(b, v)
	p.model[i][k] = string(b)
}

// contents are what [contents] makes of a backend.
func (p *packedModel) contents() map[string]string {
	all := map[string]string{}
	for i, m := range p.model {
		for k, v := range m {
			key := binary.LittleEndian.AppendUint64(nil, uint64(k))
			all[fmt.Sprintf("%s/%d/%x", p.tables[i].desc.Name, HashInt64(k)%uint64(p.o.MaxParallelism), key)] = v
		}
	}
	return all
}

// check waits for the writers of a snapshot, restores what they wrote, and releases it.
func (p *packedModel) check(s *modelSnapshot) {
	defer s.stop()
	s.wg.Wait()
	defer s.s.Release()
	if s.files == nil {
		return
	}
	back := mustMemory(p.t, Options{MaxParallelism: p.o.MaxParallelism, Last: p.o.Last})
	if err := back.Restore(p.t.Context(), s.files, s.store); err != nil {
		p.t.Fatal(err)
	}
	if got := contents(back); !maps.Equal(got, s.want) {
		p.t.Fatalf("restored %d entries instead of %d, or others", len(got), len(s.want))
	}
	for _, f := range s.files {
		if _, err := VerifyFile(p.t.Context(), f, s.store); err != nil {
			p.t.Fatal(err)
		}
		if versionIn(&s.store.fileStore, f) == packedVersion {
			p.packed++
		} else {
			p.whole++
		}
	}
}

// end releases everything, and checks that no memory is accounted for any more.
func (p *packedModel) end() {
	for _, s := range p.open {
		p.check(s)
	}
	p.givenUp.Wait()
	p.m.refresh()
	if held := p.m.held.Load(); held != 0 {
		p.t.Errorf("%d bytes are held for snapshots", held)
	}
	p.m.Close()
	if used := p.o.Account.Used(); used != 0 {
		p.t.Errorf("%d bytes are accounted for", used)
	}
}
