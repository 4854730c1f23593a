// SPDX-License-Identifier: Apache-2.0

package barrier_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-stream/weir/runtime/barrier"
	"github.com/weir-stream/weir/runtime/record"
)

// play feeds a script such as "b0:1 b1:1 c0:2 e1" to a handler and writes down the steps.
func play(t *testing.T, h barrier.Handler, script string) string {
	t.Helper()
	var out []string
	for w := range strings.FieldsSeq(script) {
		var ch int
		var id int64
		var steps []barrier.Step
		switch w[0] {
		case 'b', 'c':
			if _, err := fmt.Sscanf(w[1:], "%d:%d", &ch, &id); err != nil {
				t.Fatalf("script %q: %v", w, err)
			}
			if w[0] == 'b' {
				steps = h.Barrier(ch, record.Barrier{Checkpoint: id})
			} else {
				steps = h.Cancel(ch, id)
			}
		case 'e':
			if _, err := fmt.Sscanf(w[1:], "%d", &ch); err != nil {
				t.Fatalf("script %q: %v", w, err)
			}
			steps = h.End(ch)
		}
		out = append(out, w+"="+text(steps))
	}
	return strings.Join(out, " ")
}

func text(steps []barrier.Step) string {
	var ss []string
	for _, s := range steps {
		switch s.Kind {
		case barrier.Start:
			ss = append(ss, fmt.Sprintf("start%d", s.Barrier.Checkpoint))
		case barrier.Block:
			ss = append(ss, fmt.Sprintf("block%d", s.Channel))
		case barrier.Unblock:
			ss = append(ss, "unblock")
		case barrier.Trigger:
			ss = append(ss, fmt.Sprintf("TRIGGER%d", s.Barrier.Checkpoint))
		case barrier.Abort:
			ss = append(ss, fmt.Sprintf("abort%d(%s)", s.Barrier.Checkpoint, s.Reason))
		}
	}
	if len(ss) == 0 {
		return "-"
	}
	return strings.Join(ss, ",")
}

func TestAligner(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		channels     int
		script, want string
	}{
		"one channel": {1, "b0:1 b0:2", "b0:1=start1,block0,unblock,TRIGGER1 b0:2=start2,block0,unblock,TRIGGER2"},
		"three channels align": {
			3, "b1:1 b0:1 b2:1",
			"b1:1=start1,block1 b0:1=block0 b2:1=block2,unblock,TRIGGER1",
		},
		"an overtaking barrier gives up the older": {
			3, "b0:1 b1:1 b2:2 b0:2 b1:2",
			"b0:1=start1,block0 b1:1=block1 b2:2=unblock,abort1(Subsumed),start2,block2 b0:2=block0 b1:2=block1,unblock,TRIGGER2",
		},
		"barriers of a settled or older one are ignored": {
			2, "b0:2 b1:1 b1:2 b0:2 b1:2",
			"b0:2=start2,block0 b1:1=- b1:2=block1,unblock,TRIGGER2 b0:2=- b1:2=-",
		},
		"a repeated barrier of one channel counts once": {
			2, "b0:1 b0:1 b1:1",
			"b0:1=start1,block0 b0:1=- b1:1=block1,unblock,TRIGGER1",
		},
		"the end of a channel counts as its barrier": {
			3, "b0:1 e1 b2:1",
			"b0:1=start1,block0 e1=- b2:1=block2,unblock,TRIGGER1",
		},
		"the end of the last missing channel triggers": {2, "b0:1 e1", "b0:1=start1,block0 e1=unblock,TRIGGER1"},
		"ended channels are not waited for":            {2, "e1 b0:1", "e1=- b0:1=start1,block0,unblock,TRIGGER1"},
		"a cancel-barrier gives up the alignment": {
			2, "b0:1 c1:1 b1:1",
			"b0:1=start1,block0 c1:1=unblock,abort1(CancelBarrier) b1:1=-",
		},
		"a cancel-barrier before any barrier": {
			2, "c0:3 b1:3 b0:4 b1:4",
			"c0:3=abort3(CancelBarrier) b1:3=- b0:4=start4,block0 b1:4=block1,unblock,TRIGGER4",
		},
		"a cancel-barrier of a newer one gives up both": {
			2, "b0:1 c1:2",
			"b0:1=start1,block0 c1:2=unblock,abort1(Subsumed),abort2(CancelBarrier)",
		},
		"a second cancel-barrier is nothing new": {
			3, "b0:1 c1:1 c2:1",
			"b0:1=start1,block0 c1:1=unblock,abort1(CancelBarrier) c2:1=-",
		},
		"an old cancel-barrier is ignored": {2, "b0:5 c1:4 b1:5", "b0:5=start5,block0 c1:4=- b1:5=block1,unblock,TRIGGER5"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(tc.want, play(t, barrier.NewAligner(tc.channels), tc.script)); diff != "" {
				t.Errorf("steps (-want +got):\n%s", diff)
			}
		})
	}
}

func TestTracker(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		channels     int
		script, want string
	}{
		"never blocks": {2, "b0:1 b1:1", "b0:1=start1 b1:1=TRIGGER1"},
		"several at once": {
			2, "b0:1 b0:2 b1:1 b1:2",
			"b0:1=start1 b0:2=start2 b1:1=TRIGGER1 b1:2=TRIGGER2",
		},
		"a complete one drops the older": {2, "b0:1 b0:2 b1:2 b1:1", "b0:1=start1 b0:2=start2 b1:2=abort1(Subsumed),TRIGGER2 b1:1=-"},
		"a cancel-barrier leaves the older": {
			2, "b0:1 c0:2 b1:1 c1:2 b0:3 b1:3",
			"b0:1=start1 c0:2=start2,abort2(CancelBarrier) b1:1=TRIGGER1 c1:2=- b0:3=start3 b1:3=TRIGGER3",
		},
		"a cancel-barrier of every channel leaves the older": {
			2, "b0:1 c0:2 c1:2 b1:1 b0:3 b1:3",
			"b0:1=start1 c0:2=start2,abort2(CancelBarrier) c1:2=- b1:1=TRIGGER1 b0:3=start3 b1:3=TRIGGER3",
		},
		"a cancel-barrier before any barrier leaves the older": {
			2, "c0:2 c1:2 b0:1 b1:1",
			"c0:2=start2,abort2(CancelBarrier) c1:2=- b0:1=start1 b1:1=TRIGGER1",
		},
		"end completes several": {2, "b0:1 b0:2 e1", "b0:1=start1 b0:2=start2 e1=TRIGGER1,TRIGGER2"},
		"canceled ones are counted on": {
			2, "b0:1 c1:1 b0:1 b1:1",
			"b0:1=start1 c1:1=abort1(CancelBarrier) b0:1=- b1:1=-",
		},
		"a late barrier doesn't start a canceled one again": {
			3, "c0:1 b1:1 b2:1 b0:2 b1:2 b2:2",
			"c0:1=start1,abort1(CancelBarrier) b1:1=- b2:1=- b0:2=start2 b1:2=- b2:2=TRIGGER2",
		},
		"end counts": {2, "b0:1 e1 b0:2", "b0:1=start1 e1=TRIGGER1 b0:2=start2,TRIGGER2"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(tc.want, play(t, barrier.NewTracker(tc.channels), tc.script)); diff != "" {
				t.Errorf("steps (-want +got):\n%s", diff)
			}
		})
	}
}

func TestTracker_BoundsWhatItCounts(t *testing.T) {
	t.Parallel()
	h := barrier.NewTracker(2)
	for id := int64(1); id <= 60; id++ {
		want := fmt.Sprintf("start%d", id)
		if id > 50 {
			want += fmt.Sprintf(",abort%d(Subsumed)", id-50)
		}
		if got := text(h.Barrier(0, record.Barrier{Checkpoint: id})); got != want {
			t.Errorf("barrier %d: got %s, want %s", id, got, want)
		}
	}
	if got := text(h.Barrier(1, record.Barrier{Checkpoint: 10})); got != "-" {
		t.Errorf("a barrier of a dropped snapshot: got %s, want nothing", got)
	}
	if got := text(h.Barrier(1, record.Barrier{Checkpoint: 11})); got != "TRIGGER11" {
		t.Errorf("the oldest one kept: got %s, want TRIGGER11", got)
	}
}

// TestAligner_Random checks against a plain model: with channels that each deliver ascending ids, a snapshot
// is triggered at most once, ids ascend, and only if each channel delivered its barrier or ended.
func TestAligner_Random(t *testing.T) {
	t.Parallel()
	for seed := range uint64(2000) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		n := 1 + rnd.IntN(4)
		h := barrier.NewAligner(n)
		at, ended, blocked := make([]int64, n), make([]bool, n), make([]bool, n)
		last := int64(0)
		for range 60 {
			ch := rnd.IntN(n)
			if ended[ch] || blocked[ch] {
				continue
			}
			var steps []barrier.Step
			switch rnd.IntN(12) {
			case 0:
				ended[ch] = true
				steps = h.End(ch)
			case 1:
				at[ch] += 1 + rnd.Int64N(2)
				steps = h.Cancel(ch, at[ch])
			default:
				at[ch] += 1 + rnd.Int64N(2)
				steps = h.Barrier(ch, record.Barrier{Checkpoint: at[ch]})
			}
			for _, s := range steps {
				switch s.Kind {
				case barrier.Block:
					blocked[s.Channel] = true
				case barrier.Unblock:
					clear(blocked)
				case barrier.Trigger:
					id := s.Barrier.Checkpoint
					if id <= last {
						t.Fatalf("seed %d: snapshot %d after %d", seed, id, last)
					}
					last = id
					for c := range n {
						if !ended[c] && at[c] != id {
							t.Fatalf("seed %d: snapshot %d though channel %d is at %d", seed, id, c, at[c])
						}
					}
				}
			}
		}
	}
}
