// SPDX-License-Identifier: Apache-2.0

package files

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weir-stream/weir/runtime/contract"
	"github.com/weir-stream/weir/runtime/operator"
)

const interval = 10 * time.Second

// follow is a continuous source under a virtual clock.
func follow(t *testing.T, test func(t *testing.T, f *fleet, dir string)) {
	t.Helper()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, contract.FilesSource{Path: dir, Continuous: &contract.Continuous{PollInterval: contract.Duration(interval)}})
		test(t, f, dir)
		f.close()
	})
}

// after lets rounds of polling pass and takes what came.
func (f *fleet) after(rounds int) error {
	time.Sleep(time.Duration(rounds)*interval + interval/2) // of the virtual clock
	synctest.Wait()
	for i := range f.sources {
		for st := operator.More; st == operator.More; synctest.Wait() {
			var err error
			if st, err = f.poll(i); err != nil {
				return err
			}
			select {
			case <-f.wakes[i]:
				st = operator.More
			default:
			}
		}
	}
	return nil
}

func (f *fleet) mustAfter(rounds int) {
	f.t.Helper()
	if err := f.after(rounds); err != nil {
		f.t.Fatal(err)
	}
}

func TestSource_FollowsGrowingAndLateFiles(t *testing.T) {
	follow(t, func(t *testing.T, f *fleet, dir string) {
		write(t, dir+"/a", "a1\na2\nhalf")
		f.mustStart(2, nil)
		f.mustAfter(0)
		f.want("a1", "a2")
		appendTo(t, dir+"/a", " line\na4\n")
		write(t, dir+"/late/b", "b1\n")
		f.mustAfter(1)
		f.want("half line", "a4", "b1")
		f.mustAfter(3)
		f.want()
		lists := f.snapshot(1)
		f.close()
		appendTo(t, dir+"/a", "a5\n")
		write(t, dir+"/0", "first\n")
		f.mustStart(3, lists)
		f.mustAfter(1)
		f.want("a5", "first")
		if n := finishedFiles(f.snapshot(2)); n != 3 {
			t.Errorf("%d finished files in the state, want 3", n)
		}
	})
}

func finishedFiles(lists []operator.List) (n int) {
	for _, l := range lists {
		if l.Name == finishedList {
			for _, e := range l.Entries {
				n += len(e) / finishedSize
			}
		}
	}
	return n
}

// Clocks of file systems are coarse: a file may grow without a new modification time.
func TestSource_GrownWithinATickOfTheClock(t *testing.T) {
	follow(t, func(t *testing.T, f *fleet, dir string) {
		for i, line := range []string{"a1", "a2"} {
			if i == 0 {
				write(t, dir+"/a", "")
			}
			appendTo(t, dir+"/a", line+"\n")
			if err := os.Chtimes(dir+"/a", time.Time{}, time.Unix(5, 0)); err != nil {
				t.Fatal(err)
			}
			if i == 0 {
				f.mustStart(1, nil)
			}
			f.mustAfter(i)
			f.want(line)
		}
	})
}

func TestSource_TouchedFileIsNotReadAgain(t *testing.T) {
	follow(t, func(t *testing.T, f *fleet, dir string) {
		write(t, dir+"/a", "a1\n")
		f.mustStart(1, nil)
		f.mustAfter(0)
		f.want("a1")
		if err := os.Chtimes(dir+"/a", time.Time{}, time.Unix(5, 0)); err != nil {
			t.Fatal(err)
		}
		f.mustAfter(2)
		f.want()
	})
}

func TestSource_OverwrittenFileIsAnError(t *testing.T) {
	long := strings.Repeat("some line\n", 1000)
	for name, now := range map[string]string{
		"shorter":           "some line\n",
		"other beginning":   "another\n" + long,
		"other before here": long[:5000] + strings.Repeat("OTHER LINE", 500) + long,
		"same length":       strings.Repeat("SOME LINE\n", 1000),
		"empty":             "",
	} {
		for _, restore := range []bool{false, true} {
			t.Run(fmt.Sprint(name, " restored ", restore), func(t *testing.T) {
				follow(t, func(t *testing.T, f *fleet, dir string) {
					write(t, dir+"/a", long)
					f.mustStart(1, nil)
					f.mustAfter(0)
					lists := f.snapshot(1)
					write(t, dir+"/a", now)
					if err := os.Chtimes(dir+"/a", time.Time{}, time.Unix(5, 0)); err != nil {
						t.Fatal(err)
					}
					if restore {
						f.close()
						f.mustStart(1, lists)
					}
					wantError(t, f.after(1), dir+"/a", "it was overwritten", "10000 bytes of it were read before", "under a new name")
				})
			})
		}
	}
}

func TestSource_DeletedFiles(t *testing.T) {
	remove := func(t *testing.T, name string) {
		t.Helper()
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
	t.Run("read to its end", func(t *testing.T) {
		follow(t, func(t *testing.T, f *fleet, dir string) {
			write(t, dir+"/a", "a1\n")
			write(t, dir+"/b", "b1\n")
			f.mustStart(1, nil)
			f.mustAfter(0)
			f.want("a1", "b1")
			size := func() int { return finishedFiles(f.snapshot(1)) }
			if size() != 2 {
				t.Errorf("%d files in the state", size())
			}
			remove(t, dir+"/a")
			f.mustAfter(forgetAfter)
			if size() != 1 {
				t.Errorf("%d files in the state after one was deleted", size())
			}
			write(t, dir+"/a", "new\n")
			f.mustAfter(1)
			f.want("new")
		})
	})
	t.Run("before it was read", func(t *testing.T) {
		follow(t, func(t *testing.T, f *fleet, dir string) {
			write(t, dir+"/a", strings.Repeat("line\n", 5*localChunk)) // fills the buffers, so that the other one waits
			write(t, dir+"/b", "b1\n")
			f.mustStart(1, nil)
			synctest.Wait()
			remove(t, dir+"/b")
			f.mustAfter(1)
			if n := f.counters.Snapshot()[counterGone]; n != 1 || len(f.rows) != 5*localChunk {
				t.Errorf("%d files gone, %d rows", n, len(f.rows))
			}
		})
	})
	t.Run("in the middle", func(t *testing.T) {
		follow(t, func(t *testing.T, f *fleet, dir string) {
			write(t, dir+"/a", strings.Repeat("line\n", 1000))
			f.mustStart(1, nil)
			synctest.Wait()
			if _, err := f.poll(0); err != nil || len(f.rows) != 100 {
				t.Fatal(err, len(f.rows))
			}
			lists := f.snapshot(1)
			remove(t, dir+"/a")
			f.mustAfter(0) // the open file can still be read
			if len(f.rows) != 1000 {
				t.Errorf("%d rows", len(f.rows))
			}
			f.close()
			f.mustStart(1, lists)
			wantError(t, f.after(0), dir+"/a", "it was deleted or moved", "only its first 500 bytes had been read", "put it back")
		})
	})
}
