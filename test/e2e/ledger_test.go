// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/weir-stream/weir/examples/ledger/checker"
	"github.com/weir-stream/weir/runtime/storage"
)

// open opens a folder of the bucket.
func (s *scenario) open(prefix string) storage.Store {
	s.Helper()
	store, err := suite.access.Store(s.Context(), prefix)
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { _ = store.Close() })
	return store
}

// list returns the names of all objects below a folder of the bucket.
func (s *scenario) list(prefix string) []string {
	s.Helper()
	var names []string
	err := s.open(prefix).List(s.Context(), "", func(o storage.Object) error {
		names = append(names, o.Key)
		return nil
	})
	if err != nil {
		s.Fatalf("listing %s: %v", prefix, err)
	}
	return names
}

// savepoints lists the complete savepoints of the namespace's jobs.
func (s *scenario) savepoints() []string {
	s.Helper()
	return slices.DeleteFunc(s.list(s.ns+"/state"), func(name string) bool {
		return !strings.HasPrefix(name, savepointPrefix) || path.Base(name) != "_metadata"
	})
}

// judge checks, from outside, that the output of a job holds each number of each key exactly once, and that no start but the
// first was empty. Everything must be visible: the job is suspended, has completed or was cancelled with a savepoint.
func (s *scenario) judge(name string) *checker.Report {
	s.Helper()
	report, err := checker.Output(s.Context(), s.open(s.out(name, "rows")))
	if err != nil {
		s.Fatalf("judging the output of %s: %v", name, err)
	}
	if err := report.Err(); err != nil {
		s.Errorf("the output of %s is wrong: %v (%v)", name, err, report)
	}
	if report.Keys != keys {
		s.Errorf("the output of %s has %d keys, want %d", name, report.Keys, keys)
	}
	starts, err := checker.History(s.Context(), s.open(s.ns+"/state"), "")
	if err != nil {
		s.Errorf("the history of %s is wrong: %v", name, err)
	}
	s.Logf("%s: exactly once: %v, %d starts", name, report, starts)
	return report
}

// judgeTotals checks that the state of each key has counted every number exactly once.
func (s *scenario) judgeTotals(name string, rows *checker.Report) {
	s.Helper()
	newest := map[int64]int64{}
	s.lines(s.out(name, "totals"), func(line []byte) error {
		var t struct{ Key, Rows, Newest int64 }
		if err := json.Unmarshal(line, &t); err != nil {
			return err
		}
		if t.Rows != t.Newest {
			return fmt.Errorf("key %d: %d rows were counted up to number %d", t.Key, t.Rows, t.Newest)
		}
		newest[t.Key] = max(newest[t.Key], t.Newest)
		return nil
	})
	total := int64(0)
	for _, n := range newest {
		total += n
	}
	if total != int64(rows.Rows) {
		s.Errorf("the totals of %s add up to %d, but it wrote %d rows", name, total, rows.Rows)
	}
}

// lines calls use with each line of the visible output below a folder.
func (s *scenario) lines(folder string, use func(line []byte) error) {
	s.Helper()
	store := s.open(folder)
	for _, name := range s.list(folder) {
		if !strings.HasPrefix(path.Base(name), "part-") || strings.HasPrefix(name, "_staging/") {
			continue
		}
		b, _, err := store.Get(s.Context(), name)
		if err != nil {
			s.Fatalf("reading %s: %v", name, err)
		}
		for sc := bufio.NewScanner(bytes.NewReader(b)); sc.Scan(); {
			if err := use(sc.Bytes()); err != nil {
				s.Fatalf("reading %s: %v", name, err)
			}
		}
	}
}

// finish suspends a ledger and judges all that it wrote.
func (s *scenario) finish(name string) {
	s.Helper()
	s.suspend(name)
	s.judgeTotals(name, s.judge(name))
}
