// SPDX-License-Identifier: Apache-2.0

package program

import (
	"runtime"
	"testing"
	"testing/synctest"
	"time"
)

// paced is a process under a pacer that uses a share of a processor.
type paced struct {
	*pacer
	total time.Duration
	// one says that the process runs on one processor, changes how often that was changed.
	one     bool
	changes int
}

func newPaced() *paced {
	p := &paced{}
	p.pacer = startPacer(&pacer{
		now:  time.Now,
		used: func() time.Duration { return p.total },
		narrow: func(one bool) {
			p.one = one
			p.changes++
		},
	})
	return p
}

// run lets time pass in which the process uses that share of a processor, with a turn each second.
func (p *paced) run(d time.Duration, share float64) {
	for range d / time.Second {
		time.Sleep(time.Second)
		p.total += time.Duration(share * float64(time.Second))
		p.turn()
	}
}

func TestPacer_NarrowsCalmProcesses(t *testing.T) {
	tests := map[string]struct {
		share float64
		want  bool
	}{
		"nothing to do":    {share: 0.001, want: true},
		"some checkpoints": {share: 0.019, want: true},
		"a little work":    {share: 0.021},
		"one processor":    {share: 1},
		"all of them":      {share: 8},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPaced()
				p.run(calmFor-time.Second, tc.share)
				if p.one {
					t.Errorf("narrowed before %v were over", calmFor)
				}
				p.run(time.Minute, tc.share)
				if p.one != tc.want {
					t.Errorf("one processor: %v, want %v", p.one, tc.want)
				}
				if p.changes > 1 {
					t.Errorf("changed %d times", p.changes)
				}
			})
		})
	}
}

func TestPacer_WidensAtTheNextTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPaced()
		p.run(time.Minute, 0)
		if !p.one {
			t.Fatal("not narrowed")
		}
		p.run(time.Second, 0.9)
		if p.one {
			t.Error("still narrow after a second of work")
		}
		p.run(calmFor-time.Second, 0)
		if p.one {
			t.Error("narrowed again too soon")
		}
		p.run(2*time.Second, 0)
		if !p.one {
			t.Error("not narrowed again")
		}
	})
}

func TestPacer_WidensForWorkToCome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPaced()
		p.run(time.Minute, 0)
		p.rouse()
		if p.one {
			t.Error("still narrow")
		}
		p.run(calmFor-time.Second, 0)
		p.rouse()
		p.run(calmFor-time.Second, 0)
		if p.one {
			t.Error("narrowed too soon after it was roused")
		}
	})
}

// Messages come in bursts, which say nothing about a share.
func TestPacer_LooksOnceASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPaced()
		p.run(time.Minute, 0)
		p.total += 10 * time.Millisecond
		for range 5 {
			time.Sleep(time.Millisecond)
			p.turn()
		}
		p.run(time.Second, 0)
		if !p.one {
			t.Error("a burst of 10 ms counts as work")
		}
	})
}

func TestPacer_OfTheProcess(t *testing.T) {
	t.Run("a number that was set stays", func(t *testing.T) {
		t.Setenv("GOMAXPROCS", "2")
		if newPacer() != nil {
			t.Error("there is a pacer")
		}
	})
	t.Run("nil does nothing", func(*testing.T) {
		var p *pacer
		p.turn()
		p.rouse()
	})
	t.Run("it narrows and widens", func(t *testing.T) {
		t.Setenv("GOMAXPROCS", "")
		defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
		runtime.SetDefaultGOMAXPROCS() // -cpu may have set another number
		all := runtime.GOMAXPROCS(0)
		if all == 1 {
			t.Skip("there is one processor")
		}
		p := newPacer()
		if p == nil {
			t.Fatal("there is no pacer")
		}
		p.narrow(true)
		if n := runtime.GOMAXPROCS(0); n != 1 {
			t.Errorf("runs on %d processors", n)
		}
		p.narrow(false)
		if n := runtime.GOMAXPROCS(0); n != all {
			t.Errorf("runs on %d processors, before on %d", n, all)
		}
	})
}
