// SPDX-License-Identifier: Apache-2.0

package verify

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/weir-stream/weir/runtime/record"
	"github.com/weir-stream/weir/runtime/snapshot"
	"github.com/weir-stream/weir/runtime/storage"
)

// Summary says what a snapshot holds.
type Summary struct {
	// Path is the directory of the snapshot, without a "/" at the end.
	Path string `json:"path"`
	// Checkpoint is its id, Kind "checkpoint" or "savepoint".
	Checkpoint int64  `json:"checkpoint"`
	Kind       string `json:"kind"`
	// Stop is "stopped" or "drained" when the job ended with it.
	Stop string `json:"stop,omitempty"`
	// JobID, JobName and Attempt say what it was taken of.
	JobID   string `json:"jobID"`
	JobName string `json:"jobName,omitempty"`
	Attempt string `json:"attempt"`
	// CreatedAt is by the coordinator's clock.
	CreatedAt time.Time `json:"createdAt"`
	// MaxParallelism is the number of key groups.
	MaxParallelism int `json:"maxParallelism"`
	// Files and Bytes of state, without the manifest.
	Files int   `json:"files"`
	Bytes int64 `json:"bytes"`
	// Operators in order of name.
	Operators []OperatorSummary `json:"operators,omitempty"`
}

// OperatorSummary says what a snapshot holds of one operator.
type OperatorSummary struct {
	Name        string `json:"name"`
	Parallelism int    `json:"parallelism"`
	// Finished is how many of its subtasks had finished.
	Finished int `json:"finished,omitempty"`
	// Files and Bytes of keyed state and of channel state.
	Files int   `json:"files,omitempty"`
	Bytes int64 `json:"bytes,omitempty"`
	// InFlightRows had been overtaken by barriers on their way to it.
	InFlightRows int64 `json:"inFlightRows,omitempty"`
	// Lists of operator state.
	Lists []ListSummary `json:"lists,omitempty"`
}

// ListSummary describes one list over all subtasks.
type ListSummary struct {
	Name    string `json:"name"`
	Mode    string `json:"mode"`
	Entries int    `json:"entries"`
	Bytes   int64  `json:"bytes"`
}

// Entry is a snapshot that List found.
type Entry struct {
	// Path is the directory of the snapshot, without a "/" at the end.
	Path string `json:"path"`
	// Modified is when the manifest was written, by the clock of storage.
	Modified time.Time `json:"modified"`
	// Summary is nil when the manifest can't be read, then Problem says why.
	Summary *Summary `json:"summary,omitempty"`
	Problem string   `json:"problem,omitempty"`
}

// Inspect says what is in the snapshot at path, a directory or its manifest. It reads the manifest alone.
func Inspect(ctx context.Context, store storage.Reader, p string) (*Summary, error) {
	key, _ := ManifestKey(p)
	b, err := readManifest(ctx, store, key)
	if err != nil {
		return nil, err
	}
	m, err := snapshot.DecodeManifest(b)
	if err != nil {
		return nil, fmt.Errorf("reading the snapshot at %s: %w", key, err)
	}
	return summarize(key, m), nil
}

// List finds all snapshots at or below a prefix, oldest id first within a job. One whose manifest is damaged is listed with the problem.
// That a manifest exists doesn't say that the snapshot was ever complete: the head of the job knows.
func List(ctx context.Context, store interface {
	storage.Reader
	storage.Lister
}, prefix string,
) ([]Entry, error) {
	if prefix = strings.TrimRight(prefix, "/"); prefix != "" {
		prefix += "/"
	}
	var out []Entry
	err := store.List(ctx, prefix, func(o storage.Object) error {
		if path.Base(o.Key) != snapshot.ManifestName {
			return nil
		}
		e := Entry{Path: strings.TrimSuffix(strings.TrimSuffix(o.Key, snapshot.ManifestName), "/"), Modified: o.ModTime}
		s, err := Inspect(ctx, store, o.Key)
		switch {
		case errors.Is(err, storage.ErrNotFound):
			return nil // deleted since
		case err != nil && ctx.Err() != nil:
			return err
		case err != nil:
			e.Problem = err.Error()
		default:
			e.Summary = s
		}
		out = append(out, e)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("listing snapshots below %q: %w", prefix, err)
	}
	slices.SortStableFunc(out, compareEntries)
	return out, nil
}

func compareEntries(a, b Entry) int {
	if a.Summary == nil || b.Summary == nil {
		return cmp.Compare(a.Path, b.Path)
	}
	return cmp.Or(cmp.Compare(a.Summary.JobID, b.Summary.JobID), cmp.Compare(a.Summary.Checkpoint, b.Summary.Checkpoint), cmp.Compare(a.Path, b.Path))
}

func summarize(key string, m *snapshot.Manifest) *Summary {
	s := &Summary{
		Path:       strings.TrimSuffix(strings.TrimSuffix(key, snapshot.ManifestName), "/"),
		Checkpoint: m.Checkpoint, Kind: m.Kind.String(), JobID: m.JobID, JobName: m.JobName, Attempt: m.Attempt,
		CreatedAt: m.CreatedAt, MaxParallelism: m.MaxParallelism, Files: len(m.Files()) + len(m.ChannelFiles()), Bytes: m.Size(),
	}
	switch m.Stop {
	case record.StopFreeze:
		s.Stop = "stopped"
	case record.StopDrain:
		s.Stop = "drained"
	default:
	}
	for i := range m.Operators {
		s.Operators = append(s.Operators, summarizeOperator(&m.Operators[i]))
	}
	return s
}

func summarizeOperator(o *snapshot.OperatorState) OperatorSummary {
	s := OperatorSummary{Name: o.Name, Parallelism: o.Parallelism}
	channels := map[string]bool{}
	for _, t := range o.Subtasks {
		if t.Finished {
			s.Finished++
		}
		for _, f := range t.Keyed {
			s.Files++
			s.Bytes += f.Size
		}
		for _, c := range t.Channels {
			if !channels[c.Path] {
				channels[c.Path] = true
				s.Files++
			}
			s.Bytes += c.Length
			s.InFlightRows += c.Rows
		}
		for _, l := range t.Lists {
			i := slices.IndexFunc(s.Lists, func(x ListSummary) bool { return x.Name == l.Name })
			if i < 0 {
				i = len(s.Lists)
				s.Lists = append(s.Lists, ListSummary{Name: l.Name, Mode: [...]string{"split", "union", "broadcast"}[l.Mode]})
			}
			s.Lists[i].Entries += len(l.Entries)
			for _, e := range l.Entries {
				s.Lists[i].Bytes += int64(len(e))
			}
		}
	}
	if o.Finished {
		s.Finished = o.Parallelism
	}
	slices.SortFunc(s.Lists, func(a, b ListSummary) int { return cmp.Compare(a.Name, b.Name) })
	return s
}
