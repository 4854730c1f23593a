// SPDX-License-Identifier: Apache-2.0

package words

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/weir-stream/weir/runtime/storage"
)

// Counts holds how often each word is there.
type Counts map[string]int64

// Total is how many words there are.
func (c Counts) Total() (n int64) {
	for _, v := range c {
		n += v
	}
	return n
}

// ByShell counts the words of the text below dir/text with the tools of the shell.
func ByShell(ctx context.Context, dir string) (Counts, error) {
	script := `find "$1" -name '*.txt' -print0 | xargs -0 cat | tr -cs 'A-Za-z' '\n' | tr 'A-Z' 'a-z' | sort | uniq -c`
	cmd := exec.CommandContext(ctx, "bash", "-o", "pipefail", "-c", script, "bash", filepath.Join(dir, "text"))
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("counting with the shell: %w", err)
	}
	c := Counts{}
	for sc := bufio.NewScanner(bytes.NewReader(out)); sc.Scan(); {
		n, word, ok := strings.Cut(strings.TrimSpace(sc.Text()), " ")
		if !ok {
			continue // the empty line that tr makes of text that doesn't begin with a letter
		}
		if c[word], err = strconv.ParseInt(n, 10, 64); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// Output is what the sink of the job has made visible: each line is a new count of a word. Within a word counts only rise, so the
// last is the highest; one that appears twice would be a doubled commit.
type Output struct {
	// Counts are the highest of each word.
	Counts Counts

	store   storage.Store
	seen    map[string]bool
	doubled map[string]int64
	lines   map[string]map[int64]bool
}

// NewOutput returns the output in a store, nothing of it read yet.
func NewOutput(store storage.Store) *Output {
	return &Output{
		Counts: Counts{}, store: store,
		seen: map[string]bool{}, doubled: map[string]int64{}, lines: map[string]map[int64]bool{},
	}
}

// Read takes in files that weren't there before.
func (o *Output) Read(ctx context.Context) error {
	var names []string
	err := o.store.List(ctx, "", func(f storage.Object) error {
		if strings.HasPrefix(path.Base(f.Key), "part-") && !strings.Contains(f.Key, "/") && !o.seen[f.Key] {
			names = append(names, f.Key)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("listing the output: %w", err)
	}
	for _, name := range names {
		b, _, err := o.store.Get(ctx, name)
		if err != nil {
			return fmt.Errorf("reading %s: %w", name, err)
		}
		o.seen[name] = true
		if err := o.add(b); err != nil {
			return fmt.Errorf("reading %s: %w", name, err)
		}
	}
	return nil
}

func (o *Output) add(b []byte) error {
	for sc := bufio.NewScanner(bytes.NewReader(b)); sc.Scan(); {
		var row struct {
			Word  string `json:"word"`
			Total int64  `json:"total"`
		}
		if err := json.Unmarshal(sc.Bytes(), &row); err != nil {
			return err
		}
		if o.lines[row.Word] == nil {
			o.lines[row.Word] = map[int64]bool{}
		}
		if o.lines[row.Word][row.Total] {
			o.doubled[row.Word] = row.Total
		}
		o.lines[row.Word][row.Total] = true
		o.Counts[row.Word] = max(o.Counts[row.Word], row.Total)
	}
	return nil
}

// maxDifferences bounds what is listed.
const maxDifferences = 5

// Compare returns the first differences between the output that was read and the counts that it should have; none: all are equal.
func (o *Output) Compare(want Counts) (differences []string) {
	for _, word := range slices.Sorted(maps.Keys(want)) {
		if o.Counts[word] != want[word] {
			differences = append(differences, fmt.Sprintf("%q: weir counts %d, uniq %d", word, o.Counts[word], want[word]))
		}
	}
	for _, word := range slices.Sorted(maps.Keys(o.Counts)) {
		if _, ok := want[word]; !ok {
			differences = append(differences, fmt.Sprintf("%q is counted by weir only", word))
		}
	}
	for _, word := range slices.Sorted(maps.Keys(o.doubled)) {
		differences = append(differences, fmt.Sprintf("%q: count %d was committed twice", word, o.doubled[word]))
	}
	return differences[:min(len(differences), maxDifferences)]
}
