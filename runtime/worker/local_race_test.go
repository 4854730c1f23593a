// SPDX-License-Identifier: Apache-2.0

package worker

import (
	"io"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// A checkpoint may be given up while a copy for it is being written: what is written then is nobody's.
func TestLocalCopies_LeaveNothingOfACheckpointThatEndsMeanwhile(t *testing.T) {
	tests := map[string]func(l *localCopies){
		"given up":                    func(l *localCopies) { l.aborted(3) },
		"overtaken by the next":       func(l *localCopies) { l.complete(4) },
		"overtaken and then given up": func(l *localCopies) { l.complete(4); l.aborted(3) },
	}
	for name, end := range tests {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			l := openCopies(t, dir)
			pipe := filepath.Join(dir, localTemporary+"a")
			if err := syscall.Mkfifo(pipe, 0o600); err != nil {
				t.Fatal(err)
			}
			var wg sync.WaitGroup
			wg.Go(func() { l.put(3, "chk-3/a", make([]byte, 1<<20)) }) // stands still until the pipe is read
			f, err := os.Open(pipe)
			if err != nil {
				t.Fatal(err)
			}
			end(l)
			if _, err := io.ReadAll(f); err != nil {
				t.Fatal(err)
			}
			wg.Wait()
			_ = f.Close()
			if diff := cmp.Diff([]string(nil), copies(t, dir)); diff != "" {
				t.Errorf("left behind (-want +got):\n%s", diff)
			}
		})
	}
}
