// SPDX-License-Identifier: Apache-2.0

package program

import (
	"math"
	"os"
	"path"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"

	"github.com/go-logr/logr"
)

const (
	cgroupFile = "/proc/self/cgroup"
	cgroupRoot = "/sys/fs/cgroup"
	// unlimited is where a number isn't meant as a limit: version 1 has no word for none.
	unlimited = math.MaxInt64 / 2
)

// boundMemory has the garbage collector keep the process below nine tenths of what its container may take: without, the heap doubles between two collections, also
// where that is more than there is. $GOMEMLIMIT, set by whoever knows better, is left as it is.
func boundMemory(log logr.Logger) {
	if os.Getenv("GOMEMLIMIT") != "" {
		return
	}
	limit, ok := memoryLimit(cgroupFile, cgroupRoot)
	if !ok {
		return
	}
	bound := limit / 10 * 9
	debug.SetMemoryLimit(bound)
	log.Info("Bounding memory", "bytes", bound, "limit", limit)
}

// memoryLimit is the smallest memory limit, in bytes, of the control groups that the process is in; false if there is none. A container may see its own group
// at the root of the mount although it is told its place in the host's tree, so whatever there is of the way up to the root is looked at.
func memoryLimit(self, root string) (int64, bool) {
	b, err := os.ReadFile(self)
	if err != nil {
		return 0, false
	}
	least := int64(unlimited)
	for line := range strings.Lines(string(b)) {
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(parts) != 3 {
			continue
		}
		dir, name := root, "memory.max"
		switch parts[1] {
		case "": // version 2
		case "memory":
			dir, name = filepath.Join(root, "memory"), "memory.limit_in_bytes"
		default:
			continue
		}
		for at := path.Clean("/" + parts[2]); ; at = path.Dir(at) {
			if n, ok := readLimit(filepath.Join(dir, at, name)); ok {
				least = min(least, n)
			}
			if at == "/" {
				break
			}
		}
	}
	return least, least < unlimited
}

// readLimit reads a limit; false if there is no file, or no limit in it.
func readLimit(file string) (int64, bool) {
	b, err := os.ReadFile(file)
	if err != nil {
		return 0, false
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
	return n, err == nil && n > 0
}
