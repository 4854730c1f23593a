// SPDX-License-Identifier: Apache-2.0

package words

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/weir-stream/weir/runtime/storage"
)

// Half is a half of the text: files on this machine, one object for each folder of sources.
type Half struct {
	// Lines that it has.
	Lines int

	files []string
	bytes int
}

// String says how much it is.
func (h *Half) String() string {
	return fmt.Sprintf("%d objects, %d lines, %d MB", len(h.files), h.Lines, h.bytes>>20)
}

// Gather joins the Go sources of each folder below GOROOT/src into one text file below dir/text, and deals them into two halves.
func Gather(ctx context.Context, dir string) (first, second Half, err error) {
	goroot, err := exec.CommandContext(ctx, "go", "env", "GOROOT").Output()
	if err != nil {
		return first, second, fmt.Errorf("asking Go where its source files are: %w", err)
	}
	root := filepath.Join(strings.TrimSpace(string(goroot)), "src")
	out := filepath.Join(dir, "text")
	if err := os.Mkdir(out, 0o750); err != nil {
		return first, second, err
	}
	folders := map[string][]string{}
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() && strings.HasSuffix(path, ".go") {
			folders[filepath.Dir(path)] = append(folders[filepath.Dir(path)], path)
		}
		return err
	})
	if err != nil {
		return first, second, fmt.Errorf("looking for Go sources: %w", err)
	}
	names := make([]string, 0, len(folders))
	for f := range folders {
		names = append(names, f)
	}
	slices.Sort(names)
	for i, f := range names {
		h := &first
		if i%2 == 1 {
			h = &second
		}
		rel, err := filepath.Rel(root, f)
		if err != nil {
			return first, second, err
		}
		if err := h.join(filepath.Join(out, strings.ReplaceAll(rel, string(filepath.Separator), "_")+".txt"), folders[f]); err != nil {
			return first, second, err
		}
	}
	return first, second, nil
}

func (h *Half) join(name string, parts []string) error {
	var text []byte
	for _, p := range parts {
		b, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		text = append(text, b...)
		if len(b) > 0 && b[len(b)-1] != '\n' {
			text = append(text, '\n')
		}
	}
	h.files = append(h.files, name)
	h.bytes += len(text)
	h.Lines += strings.Count(string(text), "\n")
	return os.WriteFile(name, text, 0o600)
}

// Upload puts the files of a half into a store, one after the other, evenly over the time given, so that the job is busy while
// things happen to it.
func (h *Half) Upload(ctx context.Context, store storage.Store, over time.Duration) error {
	tick := time.NewTicker(over / time.Duration(len(h.files)))
	defer tick.Stop()
	for _, f := range h.files {
		b, err := os.ReadFile(f)
		if err != nil {
			return err
		}
		if err := store.PutIfAbsent(ctx, filepath.Base(f), b); err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}
