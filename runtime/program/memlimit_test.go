// SPDX-License-Identifier: Apache-2.0

package program

import (
	"math"
	"os"
	"path/filepath"
	"runtime/debug"
	"testing"

	"github.com/go-logr/logr"
)

func TestMemoryLimit_IsTheSmallestOnTheWay(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		self  string
		files map[string]string
		want  int64
	}{
		"version 2":                        {"0::/\n", map[string]string{"memory.max": "1000\n"}, 1000},
		"version 2, of the group above":    {"0::/pod/main\n", map[string]string{"pod/memory.max": "2000\n", "pod/main/memory.max": "max\n"}, 2000},
		"version 2, the smaller":           {"0::/pod/main\n", map[string]string{"pod/memory.max": "2000\n", "pod/main/memory.max": "1500\n"}, 1500},
		"version 2, the place of the host": {"0::/kubepods/x/y\n", map[string]string{"memory.max": "700\n"}, 700},
		"version 2, outside of the mount":  {"0::/../../x\n", map[string]string{"memory.max": "700\n"}, 700},
		"version 1": {
			"9:cpu:/a\n4:memory:/a\n0::/\n",
			map[string]string{"memory/a/memory.limit_in_bytes": "3000\n", "memory/memory.limit_in_bytes": "9223372036854771712\n"},
			3000,
		},
		"version 1 without a limit": {"4:memory:/\n", map[string]string{"memory/memory.limit_in_bytes": "9223372036854771712\n"}, 0},
		"no limit":                  {"0::/\n", map[string]string{"memory.max": "max\n"}, 0},
		"no file":                   {"0::/\n", nil, 0},
		"nonsense":                  {"what\n0::/\n", map[string]string{"memory.max": "-1\n"}, 0},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			write := func(name, text string) string {
				file := filepath.Join(dir, name)
				if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
				return file
			}
			for file, text := range tc.files {
				write("fs/"+file, text)
			}
			got, ok := memoryLimit(write("self", tc.self), filepath.Join(dir, "fs"))
			if ok != (tc.want > 0) || ok && got != tc.want {
				t.Errorf("got %d, %t, want %d", got, ok, tc.want)
			}
		})
	}
	if _, ok := memoryLimit(filepath.Join(t.TempDir(), "none"), t.TempDir()); ok {
		t.Error("a limit was found where there are no control groups")
	}
}

// What somebody has set stays.
func TestBoundMemory_LeavesWhatIsSet(t *testing.T) {
	t.Setenv("GOMEMLIMIT", "7GiB")
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(math.MaxInt64))
	boundMemory(logr.Discard())
	if got := debug.SetMemoryLimit(-1); got != math.MaxInt64 {
		t.Errorf("the limit is %d now", got)
	}
}
