// SPDX-License-Identifier: Apache-2.0

package program

import (
	"os"
	"path/filepath"
	"testing"
)

func TestOpenSnapshots_ReachesSharedFilesOfACheckpoint(t *testing.T) {
	job := t.TempDir()
	checkpoint := filepath.Join(job, "checkpoints", "chk-1")
	for name, content := range map[string]string{"checkpoints/chk-1/_metadata": "m", "shared/x": "s"} {
		file := filepath.Join(job, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	tests := map[string]string{
		checkpoint: "checkpoints/chk-1", checkpoint + "/": "checkpoints/chk-1", checkpoint + "/_metadata": "checkpoints/chk-1",
		filepath.Join(job, "checkpoints"): "", job: "",
	}
	for path, want := range tests {
		s, err := OpenSnapshots(t.Context(), path, SnapshotOptions{})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		if s.Path != want || s.Located(s.Path) != directory(path) {
			t.Errorf("%s is opened at %q, located at %s", path, s.Path, s.Located(s.Path))
		}
		if want == "" {
			continue
		}
		if b, _, err := s.Store.Get(t.Context(), "shared/x"); err != nil || string(b) != "s" {
			t.Errorf("the shared file of %s reads as %q, %v", path, b, err)
		}
	}
}

func TestRooted_SnapshotsNearTheTop(t *testing.T) {
	dir := t.TempDir()
	if root, within := rooted(dir); root != dir || within != "" {
		t.Errorf("a directory without manifest is opened at %q, %q", root, within)
	}
}
