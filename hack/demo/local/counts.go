// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// counts holds how often each word is there.
type counts map[string]int64

func (c counts) total() (n int64) {
	for _, v := range c {
		n += v
	}
	return n
}

// shellCounts counts the words of the text with the tools of the shell.
func shellCounts(ctx context.Context, dir string) (counts, error) {
	script := `find "$1" -name '*.txt' -print0 | xargs -0 cat | tr -cs 'A-Za-z' '\n' | tr 'A-Z' 'a-z' | sort | uniq -c`
	cmd := exec.CommandContext(ctx, "bash", "-o", "pipefail", "-c", script, "bash", filepath.Join(dir, "text"))
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("counting with the shell: %w", err)
	}
	c := counts{}
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

// visible reads the sink's visible output from the disk of the S3 server: each line is a new count of a word. Within a
// word counts only rise, so the last is the highest; one that appears twice would be a doubled commit.
type visible struct {
	counts  counts
	seen    map[string]bool
	doubled map[string]int64
	lines   map[string]map[int64]bool
}

func newVisible() *visible {
	return &visible{counts: counts{}, seen: map[string]bool{}, doubled: map[string]int64{}, lines: map[string]map[int64]bool{}}
}

// read takes in files that weren't there before.
func (v *visible) read(s3 *server) error {
	files, err := filepath.Glob(filepath.Join(s3.dir, "weir", "counts", "part-*"))
	if err != nil {
		return err
	}
	for _, f := range files {
		if v.seen[f] {
			continue
		}
		v.seen[f] = true
		b, err := os.ReadFile(f)
		if err != nil {
			return err
		}
		if err := v.add(b); err != nil {
			return fmt.Errorf("reading %s: %w", filepath.Base(f), err)
		}
	}
	return nil
}

func (v *visible) add(b []byte) error {
	for sc := bufio.NewScanner(bytes.NewReader(b)); sc.Scan(); {
		var row struct {
			Word  string `json:"word"`
			Total int64  `json:"total"`
		}
		if err := json.Unmarshal(sc.Bytes(), &row); err != nil {
			return err
		}
		if v.lines[row.Word] == nil {
			v.lines[row.Word] = map[int64]bool{}
		}
		if v.lines[row.Word][row.Total] {
			v.doubled[row.Word] = row.Total
		}
		v.lines[row.Word][row.Total] = true
		v.counts[row.Word] = max(v.counts[row.Word], row.Total)
	}
	return nil
}

// awaitCounts waits until the visible output accounts for all words.
func awaitCounts(ctx context.Context, s3 *server, total int64) error {
	v := newVisible()
	last := int64(-1)
	err := poll(ctx, "all words to be counted", func() (bool, error) {
		if err := v.read(s3); err != nil {
			return false, err
		}
		last = v.counts.total()
		return last >= total, nil
	})
	if err != nil {
		return fmt.Errorf("%w: %d of %d words are in the output", err, last, total)
	}
	return nil
}

// compare says whether every count is equal; the last line of the demonstration.
func compare(s3 *server, want counts) error {
	v := newVisible()
	if err := v.read(s3); err != nil {
		return err
	}
	wrong := 0
	for word, n := range want {
		if v.counts[word] != n {
			if wrong++; wrong <= 5 {
				sayf("%q: weir counts %d, uniq %d", word, v.counts[word], n)
			}
		}
	}
	for word := range v.counts {
		if _, ok := want[word]; !ok {
			wrong++
			sayf("%q is counted by weir only", word)
		}
	}
	for word, n := range v.doubled {
		sayf("%q: count %d was committed twice", word, n)
	}
	if wrong > 0 || len(v.doubled) > 0 {
		return errors.New("NOT EQUAL: the counts differ, or some were committed twice")
	}
	sayf("EQUAL: all %d counts are those of tr | sort | uniq -c, across a SIGKILL and a rescale, each committed once", len(want))
	return nil
}
