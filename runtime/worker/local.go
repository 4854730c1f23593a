// SPDX-License-Identifier: Apache-2.0

package worker

import (
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"

	"github.com/go-logr/logr"

	"github.com/weir-stream/weir/runtime/snapshot"
	"github.com/weir-stream/weir/runtime/state"
)

// localPrefix begins the names of the copies, so that nothing else in their directory is touched; localTemporary those being written.
const (
	localPrefix    = "state-"
	localTemporary = "tmp-"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// localCopies keeps copies of the state files that this worker has written in a directory of its own, so that a restore can do without
// storage. All of it is best effort: what can't be written is not there, what can't be read or isn't what the manifest says is
// removed and read from storage. Names of state files are never used twice, so a copy can't be of another file of that name.
//
// Copies are kept for the newest completed checkpoint and for what may become the next: those of a checkpoint go when a newer one is
// complete and doesn't use them. nil keeps no copies. Safe for use by several goroutines.
type localCopies struct {
	dir string
	log logr.Logger

	mu struct {
		sync.Mutex
		// used are the names of the files of each checkpoint, as far as this worker wrote or acknowledged them. Those that an earlier
		// process left are of checkpoint 0.
		used map[int64]map[string]bool
		// checked are the copies that this deployment has found to be whole.
		checked map[string]bool
		// completed is the newest completed checkpoint.
		completed int64
	}
}

// openLocalCopies uses a directory, made if it isn't there, with what an earlier process left in it.
func openLocalCopies(dir string, log logr.Logger) (*localCopies, error) {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, fmt.Errorf("making the directory for local copies of state: %w", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("looking for local copies of state: %w", err)
	}
	l := &localCopies{dir: dir, log: log}
	l.mu.used = map[int64]map[string]bool{0: {}}
	l.mu.checked = map[string]bool{}
	for _, e := range entries {
		if name, ok := strings.CutPrefix(e.Name(), localPrefix); ok {
			l.mu.used[0][name] = true
		}
		if strings.HasPrefix(e.Name(), localTemporary) {
			_ = os.Remove(filepath.Join(dir, e.Name()))
		}
	}
	return l, nil
}

func (l *localCopies) file(name string) string { return filepath.Join(l.dir, localPrefix+name) }

// put keeps a copy of a file that was written for a checkpoint.
func (l *localCopies) put(checkpoint int64, key string, data []byte) {
	if l == nil {
		return
	}
	name := path.Base(key)
	l.mu.Lock()
	late := checkpoint <= l.mu.completed
	if !late {
		l.use(checkpoint, name)
	}
	l.mu.Unlock()
	if late {
		return
	}
	temporary := filepath.Join(l.dir, localTemporary+name)
	err := os.WriteFile(temporary, data, 0o640) //nolint:gosec // as the process's umask has it
	if err == nil {
		err = os.Rename(temporary, l.file(name))
	}
	if err != nil {
		_ = os.Remove(temporary)
		l.log.V(1).Info("No local copy of a state file", "name", name, "reason", err.Error())
		return
	}
	l.dropUnused(name)
}

// dropUnused removes a copy whose checkpoint ended while it was being written.
func (l *localCopies) dropUnused(name string) {
	names := map[string]bool{name: true}
	l.mu.Lock()
	l.keepUsed(names)
	l.mu.Unlock()
	l.remove(names)
}

// use notes that a checkpoint needs a file. mu is held.
func (l *localCopies) use(checkpoint int64, name string) {
	if l.mu.used[checkpoint] == nil {
		l.mu.used[checkpoint] = map[string]bool{}
	}
	l.mu.used[checkpoint][name] = true
}

// acknowledged notes all files of a checkpoint, those that it shares with older ones among them.
func (l *localCopies) acknowledged(checkpoint int64, operators map[string]snapshot.SubtaskState) {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, o := range operators {
		for _, f := range o.Keyed {
			l.use(checkpoint, path.Base(f.Path))
		}
	}
}

// complete removes the copies that only older checkpoints use.
func (l *localCopies) complete(checkpoint int64) {
	if l == nil {
		return
	}
	l.mu.Lock()
	l.mu.completed = max(l.mu.completed, checkpoint)
	gone := map[string]bool{}
	for c, names := range l.mu.used {
		if c >= checkpoint {
			continue
		}
		for n := range names {
			gone[n] = true
		}
		delete(l.mu.used, c)
	}
	l.keepUsed(gone)
	l.mu.Unlock()
	l.remove(gone)
}

// aborted removes the copies that only this checkpoint uses.
func (l *localCopies) aborted(checkpoint int64) {
	if l == nil {
		return
	}
	l.mu.Lock()
	gone := l.mu.used[checkpoint]
	delete(l.mu.used, checkpoint)
	l.keepUsed(gone)
	l.mu.Unlock()
	l.remove(gone)
}

// keepUsed takes out of names what another checkpoint needs. mu is held.
func (l *localCopies) keepUsed(names map[string]bool) {
	for _, used := range l.mu.used {
		for n := range used {
			delete(names, n)
		}
	}
	for n := range names {
		delete(l.mu.checked, n)
	}
}

func (l *localCopies) remove(names map[string]bool) {
	for n := range names {
		_ = os.Remove(l.file(n)) // what stays is found by the next process
	}
}

// read returns n bytes of a file from offset off, if there is a whole copy of it, in buf if that has room.
func (l *localCopies) read(f state.File, off, n int64, buf []byte) ([]byte, bool) {
	if l == nil || f.CRC32C == 0 || off < 0 || n < 0 || off+n > f.Size {
		return nil, false
	}
	name := path.Base(f.Path)
	file, err := os.Open(l.file(name))
	if err != nil {
		return nil, false
	}
	defer file.Close()
	if !l.whole(name, f, file) {
		return nil, false
	}
	if int64(cap(buf)) < n {
		buf = make([]byte, n)
	}
	buf = buf[:n]
	if _, err := file.ReadAt(buf, off); err != nil {
		return nil, false
	}
	return buf, true
}

// recheck forgets which copies were whole: each deployment looks anew.
func (l *localCopies) recheck() {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	clear(l.mu.checked)
}

// whole says whether a copy is what the manifest says. It reads all of it the first time, and removes one that isn't.
func (l *localCopies) whole(name string, f state.File, file *os.File) bool {
	l.mu.Lock()
	checked := l.mu.checked[name]
	l.mu.Unlock()
	if checked {
		return true
	}
	sum := crc32.New(castagnoli)
	n, err := io.Copy(sum, file)
	if err != nil || n != f.Size || sum.Sum32() != f.CRC32C {
		l.log.Info("A local copy of a state file is damaged; it is read from storage", "name", name)
		_ = os.Remove(l.file(name))
		return false
	}
	l.mu.Lock()
	l.mu.checked[name] = true
	l.mu.Unlock()
	return true
}
