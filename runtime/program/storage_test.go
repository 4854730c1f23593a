// SPDX-License-Identifier: Apache-2.0

package program

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weir-stream/weir/runtime/contract"
	"github.com/weir-stream/weir/runtime/coordinator"
	"github.com/weir-stream/weir/runtime/snapshot"
)

func TestOpenStorage_Memory(t *testing.T) {
	s, err := openStorage(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	if s.durable || !strings.Contains(s.describe(), "memory") {
		t.Errorf("durable %t, described as %q", s.durable, s.describe())
	}
	other, err := s.client(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := other.PutIfAbsent(t.Context(), "a", []byte("1")); err != nil {
		t.Fatal(err)
	}
	if err := other.Close(); err != nil {
		t.Fatal(err)
	}
	if b, _, err := s.store.Get(t.Context(), "a"); err != nil || string(b) != "1" {
		t.Errorf("the clients don't share their content: %q, %v", b, err)
	}
}

func TestCheckRestore(t *testing.T) {
	dir := t.TempDir()
	cfg := contract.JobConfig{
		Namespace: "default", Name: "job", JobID: "0123456789",
		Storage: &contract.Storage{Volume: &contract.Volume{Path: dir}},
	}
	s, err := openStorage(t.Context(), cfg.Storage)
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	stop := dir + "/savepoints/savepoint-012345-a"
	check := func(restore string, fresh bool) (string, error) {
		o := LocalOptions{Job: cfg, Restore: restore, Fresh: fresh}
		err := s.checkRestore(t.Context(), &o)
		return o.Job.RestoreFrom, err
	}
	if from, err := check(stop, false); err != nil || from != stop {
		t.Errorf("without a head: from %q, %v", from, err)
	}

	head, err := snapshot.Claim(snapshot.Head{}, false, 1, "owner", cfg.JobID)
	if err != nil {
		t.Fatal(err)
	}
	head.SetOperation(snapshot.Operation{
		ID: "a", Type: snapshot.OperationStop, Outcome: snapshot.OutcomeDone, Checkpoint: 4,
		Path: "savepoints/savepoint-012345-a/", At: time.Now(),
	})
	head.Origin = &snapshot.Origin{Path: "savepoints/savepoint-abcdef-b/", Checkpoint: 2}
	head.NamedState = true
	b, err := snapshot.EncodeHead(head)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.store.Swap(t.Context(), "default/job/0123456789/"+coordinator.HeadName, b, ""); err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		restore string
		fresh   bool
		wantErr string
	}{
		"nothing":        {"", false, ""},
		"the newest":     {stop, false, ""},
		"its manifest":   {filepath.Join(stop, "_metadata"), false, ""},
		"relative":       {"savepoints/savepoint-012345-a/", false, ""},
		"the origin":     {dir + "/savepoints/savepoint-abcdef-b", false, ""},
		"another":        {dir + "/savepoints/savepoint-abcdef-c", false, "add --new"},
		"elsewhere":      {"/elsewhere/savepoint", false, "add --new"},
		"another, fresh": {dir + "/savepoints/savepoint-abcdef-c", true, ""},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := check(tc.restore, tc.fresh)
			switch {
			case tc.wantErr == "" && err != nil:
				t.Error(err)
			case tc.wantErr != "" && (err == nil || !strings.Contains(err.Error(), tc.wantErr) || !strings.Contains(err.Error(), stop)):
				t.Errorf("got %v, want %q and %q", err, tc.wantErr, stop)
			}
		})
	}
}
