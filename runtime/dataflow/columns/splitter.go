// SPDX-License-Identifier: Apache-2.0

package columns

import "github.com/weir-stream/weir/runtime/record"

// splitter gathers rows for the destinations of an exchange.
type splitter struct {
	schema *Schema
	out    []*Batch
	// counts and vectors are scratch of one Scatter.
	counts  []int
	vectors []*Vector
}

// NewSplitter returns a splitter for dests destinations.
func (s *Schema) NewSplitter(dests int) record.Splitter {
	return &splitter{
		schema: s, out: make([]*Batch, dests),
		counts: make([]int, dests), vectors: make([]*Vector, dests),
	}
}

// Scatter implements [record.Splitter].
func (p *splitter) Scatter(in record.Batch, hashes []uint64, dests []uint16) {
	b, ok := in.(*Batch)
	if !ok || b.n == 0 {
		return
	}
	dests = dests[:b.n]
	clear(p.counts)
	for _, d := range dests {
		p.counts[d]++
	}
	for d, n := range p.counts {
		if n > 0 {
			p.at(d).n += n
		}
	}
	for c := range b.Columns {
		for d := range p.vectors {
			if p.out[d] != nil {
				p.vectors[d] = &p.out[d].Columns[c]
			}
		}
		scatterVector(p.vectors, &b.Columns[c], dests)
	}
	if hashes == nil {
		return
	}
	for i, d := range dests {
		o := p.out[d]
		o.hashes = append(o.hashes, hashes[i])
	}
	for d, n := range p.counts {
		if n > 0 {
			p.out[d].hashed = true
		}
	}
}

func scatterVector(out []*Vector, v *Vector, dests []uint16) {
	switch v.Kind {
	case Int:
		src := v.Ints[:len(dests)]
		for i, d := range dests {
			o := out[d]
			o.Ints = append(o.Ints, src[i])
		}
	case Float:
		src := v.Floats[:len(dests)]
		for i, d := range dests {
			o := out[d]
			o.Floats = append(o.Floats, src[i])
		}
	case Bool:
		src := v.Bools[:len(dests)]
		for i, d := range dests {
			o := out[d]
			o.Bools = append(o.Bools, src[i])
		}
	default:
		src := v.Spans[:len(dests)]
		for i, d := range dests {
			out[d].AppendText(v.Arena[src[i].Start:src[i].End])
		}
	}
}

// Append implements [record.Splitter].
func (p *splitter) Append(dest int, in record.Batch) {
	b, ok := in.(*Batch)
	if !ok || b.n == 0 {
		return
	}
	o := p.at(dest)
	for c := range b.Columns {
		o.Columns[c].AppendAll(&b.Columns[c])
	}
	o.n += b.n
	if b.hashed {
		o.hashes, o.hashed = append(o.hashes, b.hashes...), true
	}
}

func (p *splitter) at(d int) *Batch {
	if p.out[d] == nil {
		p.out[d] = p.schema.NewBatch()
	}
	return p.out[d]
}

// Len implements [record.Splitter].
func (p *splitter) Len(dest int) int {
	if p.out[dest] == nil {
		return 0
	}
	return p.out[dest].n
}

// Take implements [record.Splitter].
func (p *splitter) Take(dest int) record.Batch {
	b := p.out[dest]
	if b == nil {
		return nil
	}
	p.out[dest], p.vectors[dest] = nil, nil
	return b
}
