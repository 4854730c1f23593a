// SPDX-License-Identifier: Apache-2.0

package state

import "time"

// Pace spreads the files of a large snapshot over time. Writing a snapshot takes processor time and memory bandwidth from the records: written as fast as a disk can, the
// files of a gigabyte left less than half of the throughput meanwhile. What is written is no less and processing loses no less in all, but at no time most of it. The first Free bytes are written at once, so
// small snapshots are as fast as they can be; and nothing waits for longer than Most in all, so that a huge one is hardly later. Use one Pace for one snapshot of one subtask. Not safe for concurrent use.
type Pace struct {
	// Free is how many bytes are written at once, Rate how many of the others in a second; 0 for no bound.
	Free, Rate int64
	// Most is how long all waits together last at most.
	Most time.Duration

	begun  time.Time
	bytes  int64
	waited time.Duration
}

// CheckpointPace is that of one checkpoint of one subtask: 64 MiB at once, and the rest at 256 MiB/s, waiting 5 s at most.
func CheckpointPace() *Pace { return &Pace{Free: 64 << 20, Rate: 256 << 20, Most: 5 * time.Second} }

// Wait returns for how long to wait, from now on, before n more bytes are written; 0 for not at all.
func (p *Pace) Wait(now time.Time, n int) time.Duration {
	if p.Rate <= 0 {
		return 0
	}
	if p.bytes == 0 {
		p.begun = now
	}
	ahead := p.bytes - p.Free
	p.bytes += int64(n)
	if ahead <= 0 {
		return 0
	}
	// In two steps, since the bytes of a large state times a billion don't fit.
	after := time.Duration(ahead/p.Rate)*time.Second + time.Duration(ahead%p.Rate)*time.Second/time.Duration(p.Rate)
	d := min(max(p.begun.Add(after).Sub(now), 0), p.Most-p.waited)
	p.waited += d
	return d
}
