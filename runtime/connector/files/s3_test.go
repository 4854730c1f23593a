// SPDX-License-Identifier: Apache-2.0

package files

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"

	"github.com/weir-stream/weir/runtime/contract"
	"github.com/weir-stream/weir/runtime/operator"
	"github.com/weir-stream/weir/runtime/record"
	"github.com/weir-stream/weir/runtime/storage"
	"github.com/weir-stream/weir/runtime/storage/s3store"
	"github.com/weir-stream/weir/runtime/storage/storagetest"
)

// bucket starts a server and returns how to reach its bucket "weir".
func bucket(t *testing.T) (*contract.S3, storage.Store) {
	t.Helper()
	server := storagetest.StartVersityGW(t)
	t.Setenv("AWS_ACCESS_KEY_ID", storagetest.AccessKey)
	t.Setenv("AWS_SECRET_ACCESS_KEY", storagetest.SecretKey)
	store, err := s3store.Open(t.Context(), server.Config("weir", ""))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	return &contract.S3{Endpoint: server.Endpoint}, store
}

func sinkContext(name, attempt string, lists []operator.List) *operator.Context {
	return &operator.Context{
		JobID: "job-id", Name: name, Parallelism: 1, Attempt: attempt, Restored: lists, Checkpointed: true,
		Now: time.Now, Log: logr.Discard(), Counters: &operator.Counters{}, Wake: func() {},
	}
}

func TestS3_SourceReadsAndSinkCommits(t *testing.T) {
	s3, store := bucket(t)
	ctx := t.Context()
	var want []string
	for i := range 5 {
		var b strings.Builder
		for j := range 100 * i {
			l := fmt.Sprintf("file %d line %d", i, j)
			want = append(want, l)
			b.WriteString(l + "\n")
		}
		if err := store.PutIfAbsent(ctx, fmt.Sprintf("in/sub/%d.txt", i), []byte(b.String())); err != nil {
			t.Fatal(err)
		}
	}
	for _, key := range []string{"in/other.log", "input.txt", "in/_staging/x.txt"} {
		if err := store.PutIfAbsent(ctx, key, []byte("no\n")); err != nil {
			t.Fatal(err)
		}
	}
	f := newFleet(t, contract.FilesSource{Path: "s3://weir/in/**/*.txt", S3: s3})
	f.mustStart(2, nil)
	for range 3 {
		if _, err := f.poll(0); err != nil {
			t.Fatal(err)
		}
	}
	lists := f.snapshot(1)
	f.close()
	f.mustStart(3, lists)
	if err := f.drain(); err != nil {
		t.Fatal(err)
	}
	f.close()
	f.want(want...)

	newSink := Sink(Output{Path: "s3://weir/out", S3: s3}, appendInt)
	rows := int64(0)
	lists = nil
	for attempt := range 3 {
		s := newSink().(*sink)
		s.to.limit = 100
		c, wake := sinkContext("out", fmt.Sprint(attempt), lists), make(chan struct{}, 1)
		c.Wake = func() {
			select {
			case wake <- struct{}{}:
			default:
			}
		}
		if err := s.Open(ctx, c); err != nil {
			t.Fatal(err)
		}
		for id := int64(attempt*10 + 1); id <= int64(attempt*10+3); id++ {
			b := intRows.Get()
			for range 50 {
				b.Values = append(b.Values, rows)
				rows++
			}
			if st, err := s.Process(0, b); err != nil || st != operator.Done {
				t.Fatal(st, err)
			}
			b.Release()
			for s.tx.busy.Load() {
				<-wake
			}
			if err := s.tx.err(); err != nil {
				t.Fatal(err)
			}
			async, _ := s.Snapshot(record.Barrier{Checkpoint: id})
			var err error
			if lists, err = async(ctx); err != nil {
				t.Fatal(err)
			}
			if id%10 == 2 { // the others are committed later, or by the next start
				if err := s.NotifyComplete(ctx, id); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	s := newSink().(*sink)
	if err := s.Open(ctx, sinkContext("out", "last", lists)); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	seen := map[string]int{}
	err := store.List(ctx, "out/", func(o storage.Object) error {
		if strings.Contains(o.Key, stagingDir) {
			t.Errorf("%s is left over", o.Key)
		}
		data, _, err := store.Get(ctx, o.Key)
		for l := range strings.Lines(string(data)) {
			seen[strings.TrimSpace(l)]++
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for i := range rows {
		if n := seen[fmt.Sprint(i)]; n != 1 {
			t.Errorf("row %d is visible %d times", i, n)
		}
	}
	if len(seen) != int(rows) {
		t.Errorf("%d different rows are visible, want %d", len(seen), rows)
	}
}

func TestS3_Mistakes(t *testing.T) {
	s3, _ := bucket(t)
	for name, tc := range map[string]struct {
		path, secret, want string
	}{
		"unknown bucket": {path: "s3://nowhere/x", secret: storagetest.SecretKey, want: "nowhere"},
		"wrong secret":   {path: "s3://weir/x", secret: "wrong", want: "AWS_SECRET_ACCESS_KEY"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("AWS_SECRET_ACCESS_KEY", tc.secret)
			f := newFleet(t, contract.FilesSource{Path: tc.path, S3: s3})
			wantError(t, f.start(1, nil), tc.want)
			t.Log(f.start(1, nil))
			f.close()
			s := Sink(Output{Path: tc.path, S3: s3}, appendInt)()
			err := s.Open(t.Context(), sinkContext("out", "1", nil))
			wantError(t, err, tc.want)
			t.Log(err)
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}
