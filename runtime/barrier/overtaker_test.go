// SPDX-License-Identifier: Apache-2.0

package barrier_test

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-stream/weir/runtime/barrier"
	"github.com/weir-stream/weir/runtime/record"
)

// clock is a monotonic clock driven by hand.
type clock struct{ t time.Time }

func (c *clock) now() time.Time { return c.t }

// drive feeds a script to an overtaker and writes down the steps. A word is what happens, the channel, and the id:
// U an unaligned barrier arrives, T one with a timeout of 10, A an aligned one, H one with a timeout is announced ahead, C a cancel-barrier
// arrives, E the end; small letters are the same being read; "+5" lets 5 pass.
func drive(t *testing.T, channels int, script string) string {
	t.Helper()
	clk := &clock{time.Unix(1000, 0)}
	o := barrier.NewOvertaker(channels, clk.now)
	var out []string
	for w := range strings.FieldsSeq(script) {
		out = append(out, w+"="+stepsText(word(t, o, clk, w)))
	}
	return strings.Join(out, " ")
}

func word(t *testing.T, o *barrier.Overtaker, clk *clock, w string) []barrier.Step {
	t.Helper()
	var ch, id int64
	num := func(s string) int64 {
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil {
			t.Fatalf("script %q: %v", w, err)
		}
		return n
	}
	if w[0] == '+' {
		id = num(w[1:])
		clk.t = clk.t.Add(time.Duration(id))
		return o.Tick(clk.t)
	}
	at, of, ok := strings.Cut(w[1:], ":")
	ch = num(at)
	if ok {
		id = num(of)
	}
	b := record.Barrier{Checkpoint: id, Unaligned: w[0] != 'A' && w[0] != 'a'}
	if w[0] == 'T' || w[0] == 't' || w[0] == 'H' {
		b.AlignmentTimeout = 10
	}
	e := record.OfBarrier(b)
	switch w[0] {
	case 'C':
		e = record.OfCancelBarrier(id)
	case 'E':
		e = record.End()
	case 'u', 't', 'a':
		return o.Barrier(int(ch), b)
	case 'c':
		return o.Cancel(int(ch), id)
	case 'e':
		return o.End(int(ch))
	}
	return o.Arrived(barrier.Arrival{Channel: int(ch), Element: e, Ahead: w[0] == 'H'})
}

func stepsText(steps []barrier.Step) string {
	var ss []string
	for i, s := range steps {
		switch s.Kind {
		case barrier.Overtake:
			ss = append(ss, fmt.Sprintf("OVERTAKE%d", s.Barrier.Checkpoint))
		case barrier.Delivered:
			ss = append(ss, fmt.Sprintf("delivered%d", s.Barrier.Checkpoint))
		default:
			ss = append(ss, text(steps[i:i+1]))
		}
	}
	if len(ss) == 0 {
		return "-"
	}
	return strings.Join(ss, ",")
}

func TestOvertaker(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		channels     int
		script, want string
	}{
		"one channel": {1, "U0:1 u0:1 U0:2 u0:2", "U0:1=start1,OVERTAKE1,delivered1 u0:1=- U0:2=start2,OVERTAKE2,delivered2 u0:2=-"},
		"the first barrier overtakes, the last completes": {
			3, "U1:1 U0:1 U2:1 u0:1 u1:1 u2:1",
			"U1:1=start1,OVERTAKE1 U0:1=- U2:1=delivered1 u0:1=- u1:1=- u2:1=-",
		},
		"reading a barrier is its arrival": {
			2, "u0:1 U0:1 u1:1 U1:1",
			"u0:1=start1,OVERTAKE1 U0:1=- u1:1=delivered1 U1:1=-",
		},
		"a newer barrier gives up the older": {
			3, "U0:1 U1:1 U2:2 U0:2 U1:2 u2:2 u0:1 u1:1 u0:2",
			"U0:1=start1,OVERTAKE1 U1:1=- U2:2=abort1(Subsumed),start2,OVERTAKE2 U0:2=- U1:2=delivered2 u2:2=- u0:1=- u1:1=- u0:2=-",
		},
		"barriers of older and settled ones are ignored": {
			2, "U0:2 U1:1 U1:2 U0:2 u1:1 u0:2 u1:2",
			"U0:2=start2,OVERTAKE2 U1:1=- U1:2=delivered2 U0:2=- u1:1=- u0:2=- u1:2=-",
		},
		"the end of a channel counts as its barrier": {3, "U0:1 E1 U2:1 e1", "U0:1=start1,OVERTAKE1 E1=- U2:1=delivered1 e1=-"},
		"an end that is read counts, too":            {2, "U0:1 e1", "U0:1=start1,OVERTAKE1 e1=delivered1"},
		"ended channels are not waited for":          {2, "E1 U0:1", "E1=- U0:1=start1,OVERTAKE1,delivered1"},
		"a cancel-barrier that arrives gives up the capture": {
			2, "U0:1 C1:1 c1:1 u0:1",
			"U0:1=start1,OVERTAKE1 C1:1=abort1(CancelBarrier) c1:1=- u0:1=-",
		},
		"a cancel-barrier that arrived before the first barrier": {
			2, "C0:3 U1:3 c0:3 U0:4 U1:4",
			"C0:3=- U1:3=abort3(CancelBarrier) c0:3=- U0:4=start4,OVERTAKE4 U1:4=delivered4",
		},
		"a cancel-barrier that is read before any barrier": {2, "c0:3 U1:3", "c0:3=abort3(CancelBarrier) U1:3=-"},
		"a cancel-barrier of a newer one gives up both": {
			2, "U0:1 C1:2 c1:2 U0:2",
			"U0:1=start1,OVERTAKE1 C1:2=abort1(Subsumed) c1:2=abort2(CancelBarrier) U0:2=-",
		},
		"a cancel-barrier after completion is nothing new": {2, "U0:1 U1:1 C1:1 c1:1", "U0:1=start1,OVERTAKE1 U1:1=delivered1 C1:1=- c1:1=-"},
		"an old cancel-barrier is ignored":                 {2, "U0:5 C1:4 c1:4 U1:5", "U0:5=start5,OVERTAKE5 C1:4=- c1:4=- U1:5=delivered5"},
		"aligned barriers are aligned when they are read": {
			2, "A0:1 a0:1 A1:1 a1:1",
			"A0:1=- a0:1=start1,block0 A1:1=- a1:1=block1,unblock,TRIGGER1",
		},
		"an aligned one after an unaligned one": {
			2, "U0:1 U1:1 u0:1 A0:2 a0:2 u1:1 A1:2 a1:2",
			"U0:1=start1,OVERTAKE1 U1:1=delivered1 u0:1=- A0:2=- a0:2=start2,block0 u1:1=- A1:2=- a1:2=block1,unblock,TRIGGER2",
		},
		"an aligned one gives up an older capture": {
			2, "U0:1 A0:2 u0:1 a0:2 U1:1 u1:1 A1:2 a1:2",
			"U0:1=start1,OVERTAKE1 A0:2=- u0:1=- a0:2=abort1(Subsumed),start2,block0 U1:1=- u1:1=- A1:2=- a1:2=block1,unblock,TRIGGER2",
		},
		"an unaligned one gives up an older alignment": {
			2, "A0:1 a0:1 U1:2 U0:2 a1:1",
			"A0:1=- a0:1=start1,block0 U1:2=unblock,abort1(Subsumed),start2,OVERTAKE2 U0:2=delivered2 a1:1=-",
		},
		"one that a channel left out": {
			2, "U0:1 A1:2 a1:2 u0:1",
			"U0:1=start1,OVERTAKE1 A1:2=abort1(Subsumed) a1:2=start2,block1 u0:1=-",
		},
		"one that a channel had left out before": {
			2, "A1:2 U0:1 A0:2 u0:1 a0:2 a1:2",
			"A1:2=- U0:1=abort1(CancelBarrier) A0:2=- u0:1=- a0:2=start2,block0 a1:2=block1,unblock,TRIGGER2",
		},
		"several aligned ones in flight": {
			2, "A0:1 A0:2 a0:1 A1:1 A1:2 a1:1 a1:2 a0:2",
			"A0:1=- A0:2=- a0:1=start1,block0 A1:1=- A1:2=- a1:1=block1,unblock,TRIGGER1 a1:2=start2,block1 a0:2=block0,unblock,TRIGGER2",
		},
		"an aligned one with a cancel-barrier behind": {
			2, "A0:1 C1:2 a0:1 a1:1 c1:2",
			"A0:1=- C1:2=- a0:1=start1,block0 a1:1=block1,unblock,TRIGGER1 c1:2=abort2(CancelBarrier)",
		},
		"in time it stays aligned": {
			2, "T0:1 t0:1 +9 T1:1 t1:1 +9",
			"T0:1=start1 t0:1=block0 +9=- T1:1=- t1:1=block1,unblock,TRIGGER1 +9=-",
		},
		"after the timeout it overtakes": {
			3, "T0:1 t0:1 T1:1 +10 T2:1 t1:1 t2:1",
			"T0:1=start1 t0:1=block0 T1:1=- +10=unblock,OVERTAKE1 T2:1=delivered1 t1:1=- t2:1=-",
		},
		"the time counts from the arrival, not from the reading": {
			2, "T0:1 +9 t0:1 +1 T1:1",
			"T0:1=start1 +9=- t0:1=block0 +1=unblock,OVERTAKE1 T1:1=delivered1",
		},
		"all arrived when the time is over": {2, "T0:1 T1:1 +10 t0:1", "T0:1=start1 T1:1=- +10=OVERTAKE1,delivered1 t0:1=-"},
		"a barrier that waits with the sender starts the time": {
			2, "H0:1 +10 T0:1 T1:1",
			"H0:1=start1 +10=OVERTAKE1 T0:1=- T1:1=delivered1",
		},
		"a timeout of one that was given up doesn't count for the next": {
			2, "T0:1 +5 T1:2 +5 +5 T0:2",
			"T0:1=start1 +5=- T1:2=abort1(Subsumed),start2 +5=- +5=OVERTAKE2 T0:2=delivered2",
		},
		"nor does it for an aligned one": {
			2, "T0:1 t0:1 +5 A0:2 A1:2 a1:2 +5 +5 a0:2",
			"T0:1=start1 t0:1=block0 +5=- A0:2=- A1:2=unblock,abort1(Subsumed) a1:2=start2,block1 +5=- +5=- a0:2=block0,unblock,TRIGGER2",
		},
		"a cancel-barrier during the timeout": {
			2, "T0:1 t0:1 C1:1 +10 t1:1",
			"T0:1=start1 t0:1=block0 C1:1=unblock,abort1(CancelBarrier) +10=- t1:1=-",
		},
		"an end during the timeout": {2, "T0:1 t0:1 E1 e1 +10", "T0:1=start1 t0:1=block0 E1=- e1=unblock,TRIGGER1 +10=-"},
		"a cancel-barrier after it overtook": {
			2, "T0:1 +10 C1:1 u1:1",
			"T0:1=start1 +10=OVERTAKE1 C1:1=abort1(CancelBarrier) u1:1=-",
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(tc.want, drive(t, tc.channels, tc.script)); diff != "" {
				t.Errorf("steps (-want +got):\n%s", diff)
			}
		})
	}
}

// TestOvertaker_AlignedIsAsByAligner feeds the aligner's own cases.
func TestOvertaker_AlignedIsAsByAligner(t *testing.T) {
	t.Parallel()
	for seed := range uint64(500) {
		rnd := rand.New(rand.NewPCG(seed, 3))
		n := 1 + rnd.IntN(4)
		a, o := barrier.NewAligner(n), barrier.NewOvertaker(n, (&clock{}).now)
		for i := range 80 {
			ch, id := rnd.IntN(n), 1+rnd.Int64N(int64(2+i/4))
			h := []barrier.Handler{a, o}
			var got [2]string
			switch rnd.IntN(12) {
			case 0:
				for j := range h {
					got[j] = text(h[j].Cancel(ch, id))
				}
			case 1:
				if i > 60 {
					for j := range h {
						got[j] = text(h[j].End(ch))
					}
				}
			default:
				for j := range h {
					got[j] = text(h[j].Barrier(ch, record.Barrier{Checkpoint: id}))
				}
			}
			if got[0] != got[1] {
				t.Fatalf("seed %d: the aligner says %s, the overtaker %s", seed, got[0], got[1])
			}
		}
	}
}
