// SPDX-License-Identifier: Apache-2.0

// Package checker judges, from outside of a job, whether it processed everything exactly once: the visible output of a
// transactional sink must hold the numbers 1 to max of every key exactly once each, and the head's history must
// show no start without state after the first one.
package checker

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/weir-stream/weir/runtime/snapshot"
	"github.com/weir-stream/weir/runtime/storage"
)

// maxViolations bounds what a report lists.
const maxViolations = 10

// Report is what was found in the output.
type Report struct {
	// Keys and Rows that are there, and Files they are in.
	Keys, Rows, Files int
	// Missing and Repeated count the numbers below the highest of their key that aren't there, and those that are there more than once.
	Missing, Repeated int
	// Violations are the first of them.
	Violations []string
}

// Err is nil if every key has each of its numbers exactly once.
func (r *Report) Err() error {
	if len(r.Violations) == 0 {
		return nil
	}
	return fmt.Errorf("not exactly once: %s", strings.Join(r.Violations, "; "))
}

// String sums it up.
func (r *Report) String() string {
	return fmt.Sprintf("%d rows of %d keys in %d files", r.Rows, r.Keys, r.Files)
}

// line is one row of the output.
type line struct {
	Key *int64 `json:"key"`
	Seq *int64 `json:"seq"`
}

// Output reads all visible files of a sink. Staged ones, which no checkpoint has completed, don't count.
func Output(ctx context.Context, store storage.Store) (*Report, error) {
	r := &Report{}
	seen := map[int64]map[int64]int{}
	var names []string
	err := store.List(ctx, "", func(o storage.Object) error {
		if strings.HasPrefix(path.Base(o.Key), "part-") && !strings.HasPrefix(o.Key, "_staging/") {
			names = append(names, o.Key)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("listing the output: %w", err)
	}
	for _, name := range names {
		b, _, err := store.Get(ctx, name)
		if err != nil {
			return nil, fmt.Errorf("reading the output: %w", err)
		}
		if err := r.add(seen, b); err != nil {
			return nil, fmt.Errorf("reading %s: %w", name, err)
		}
		r.Files++
	}
	r.judge(seen)
	return r, nil
}

func (r *Report) add(seen map[int64]map[int64]int, b []byte) error {
	sc := bufio.NewScanner(bytes.NewReader(b))
	for sc.Scan() {
		var l line
		if err := json.Unmarshal(sc.Bytes(), &l); err != nil {
			return err
		}
		if l.Key == nil || l.Seq == nil {
			return fmt.Errorf("line %q has no key or no seq", sc.Text())
		}
		if seen[*l.Key] == nil {
			seen[*l.Key] = map[int64]int{}
		}
		seen[*l.Key][*l.Seq]++
		r.Rows++
	}
	return sc.Err()
}

// judge finds numbers that are missing below the highest of their key, or there more than once.
func (r *Report) judge(seen map[int64]map[int64]int) {
	r.Keys = len(seen)
	for _, k := range slices.Sorted(maps.Keys(seen)) {
		highest := slices.Max(slices.Collect(maps.Keys(seen[k])))
		for s := int64(1); s <= highest; s++ {
			switch n := seen[k][s]; {
			case n == 0:
				r.Missing++
				r.violationf("key %d: %d is missing", k, s)
			case n > 1:
				r.Repeated++
				r.violationf("key %d: %d is there %d times", k, s, n)
			}
		}
	}
}

func (r *Report) violationf(format string, args ...any) {
	if len(r.Violations) < maxViolations {
		r.Violations = append(r.Violations, fmt.Sprintf(format, args...))
	}
}

// History reads the heads below a prefix of the job's storage and says whether every start but the first had state. It
// returns how many starts there were.
func History(ctx context.Context, store storage.Store, prefix string) (starts int64, err error) {
	found := false
	heads := map[string]bool{}
	err = store.List(ctx, prefix, func(o storage.Object) error {
		if path.Base(o.Key) == "head.json" {
			heads[o.Key] = true
		}
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("looking for heads: %w", err)
	}
	for _, key := range slices.Sorted(maps.Keys(heads)) {
		b, _, err := store.Get(ctx, key)
		if err != nil {
			return 0, fmt.Errorf("reading %s: %w", key, err)
		}
		h, err := snapshot.DecodeHead(b)
		if err != nil {
			return 0, fmt.Errorf("reading %s: %w", key, err)
		}
		found = true
		n, err := judgeHistory(&h)
		if err != nil {
			return 0, fmt.Errorf("history of %s: %w", key, err)
		}
		starts += n
	}
	if !found {
		return 0, errors.New("there is no head: the job has never started here")
	}
	return starts, nil
}

// judgeHistory allows empty starts only before the job has named any state.
func judgeHistory(h *snapshot.Head) (int64, error) {
	withState := h.RestoresDropped > h.EmptyDropped
	for _, r := range h.Restores {
		if r.Empty && withState {
			return 0, fmt.Errorf("attempt %s started empty although the job had state", r.Attempt)
		}
		withState = withState || !r.Empty
	}
	return h.RestoresDropped + int64(len(h.Restores)), nil
}
