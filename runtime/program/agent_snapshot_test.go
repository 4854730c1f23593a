// SPDX-License-Identifier: Apache-2.0

package program

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weir-stream/weir/runtime/contract"
	"github.com/weir-stream/weir/runtime/operator"
	"github.com/weir-stream/weir/runtime/record"
	"github.com/weir-stream/weir/runtime/snapshot"
)

// writeSnapshot writes a snapshot without files into a directory: a list of 5 bytes is all its state.
func writeSnapshot(t *testing.T, dir string, kind record.SnapshotKind) {
	t.Helper()
	m := &snapshot.Manifest{
		JobID: "0123456789", Checkpoint: 4, Kind: kind, MaxParallelism: 128, Attempt: "1-1-1", CreatedAt: time.Now(),
		Operators: []snapshot.OperatorState{{Name: "op", Parallelism: 1, Subtasks: []snapshot.SubtaskState{{
			Lists: []operator.List{{Name: "positions", Entries: [][]byte{{1, 2, 3}, {4, 5}}}},
		}}}},
	}
	b, err := snapshot.EncodeManifest(m)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(dir, 0o750); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, snapshot.ManifestName), b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// agent runs a task of an agent and returns what it leaves in its termination message.
func agent(t *testing.T, args ...string) *contract.AgentResult {
	t.Helper()
	log := filepath.Join(t.TempDir(), "log")
	cmd := Command{}.agentCommand(make(chan os.Signal))
	cmd.SetArgs(append(args, "--termination-log", log))
	if err := cmd.ExecuteContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	r, err := contract.ParseAgentResult(string(b))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestAgent_InspectsAndRemovesASnapshot(t *testing.T) {
	dir := t.TempDir()
	place := fmt.Sprintf(`{"volume":{"path":%q}}`, dir)
	checkpoint := dir + "/ns/words/0123456789/checkpoints/chk-4"
	writeSnapshot(t, checkpoint, record.Checkpoint)
	writeSnapshot(t, dir+"/savepoints/savepoint-012345-a", record.Savepoint)
	r := agent(t, "inspect", "--storage", place, "--path", checkpoint, "--pin", "ssnap-1")
	if !r.OK || r.Task != contract.AgentInspect || !r.Pinned || r.JobID != "0123456789" ||
		r.Snapshot == nil || r.Snapshot.ID != 4 || r.Snapshot.Kind != "Checkpoint" || r.Snapshot.Path != checkpoint+"/" || r.Snapshot.SizeBytes != 5 {
		t.Fatalf("inspect: %+v, %+v", r, r.Snapshot)
	}
	if r := agent(t, "inspect", "--storage", place, "--path", "savepoints/savepoint-012345-a"); !r.OK || r.Snapshot.Kind != "Savepoint" || r.Pinned {
		t.Errorf("inspect of a savepoint: %+v", r)
	}
	if r := agent(t, "remove", "--storage", place, "--path", checkpoint, "--pin", "other"); !r.OK || r.Deleted != 0 || len(r.Warnings) != 1 ||
		!strings.Contains(r.Warnings[0], "pins/ssnap-1") {
		t.Errorf("remove of what a pin holds: %+v, %+v", r, r.Problem)
	}
	if r := agent(t, "remove", "--storage", place, "--path", checkpoint, "--pin", "ssnap-1", "--lineage", "0123456789", "--checkpoint", "4"); !r.OK || r.Deleted != 1 {
		t.Errorf("remove: %+v, %+v", r, r.Problem)
	}
	if r := agent(t, "inspect", "--storage", place, "--path", checkpoint); r.OK || r.Problem.Reason != contract.RestoreNotFound || r.Problem.Remedy == "" {
		t.Errorf("inspect of nothing: %+v, %+v", r, r.Problem)
	}
}

func TestAgent_RefusesASnapshotElsewhere(t *testing.T) {
	dir := t.TempDir()
	place := fmt.Sprintf(`{"volume":{"path":%q}}`, dir+"/mine")
	writeSnapshot(t, dir+"/others/savepoint-1", record.Savepoint)
	for _, path := range []string{dir + "/others/savepoint-1", "../others/savepoint-1", dir + "/mine/../others/savepoint-1", "s3://bucket/x"} {
		for _, task := range []string{"inspect", "remove"} {
			r := agent(t, task, "--storage", place, "--path", path)
			if r.OK || r.Problem == nil || r.Problem.Reason != contract.RestoreNotFound {
				t.Errorf("%s %s: %+v", task, path, r)
			}
		}
	}
	if r := agent(t, "inspect", "--storage", "{", "--path", "x"); r.OK || r.Problem.Reason != contract.InvalidJob {
		t.Errorf("storage that can't be read: %+v", r)
	}
}

// Nothing that such a storage holds says what the job needs.
func TestAgent_RefusesAStorageThatBeginsInsideTheDirectoryOfAJob(t *testing.T) {
	dir := t.TempDir()
	job := dir + "/ns/words/0123456789"
	writeSnapshot(t, job+"/checkpoints/chk-4", record.Checkpoint)
	for _, begins := range []string{job, job + "/checkpoints", job + "/checkpoints/"} {
		for _, task := range []string{"inspect", "remove"} {
			r := agent(t, task, "--storage", fmt.Sprintf(`{"volume":{"path":%q}}`, begins), "--path", job+"/checkpoints/chk-4")
			if r.OK || r.Problem == nil || r.Problem.Reason != contract.RestoreNotFound || !strings.Contains(r.Problem.Message, "name the storage as the job does") {
				t.Errorf("%s in %s: %+v", task, begins, r)
			}
		}
	}
	if r := agent(t, "inspect", "--storage", fmt.Sprintf(`{"volume":{"path":%q}}`, dir+"/ns/words"), "--path", job+"/checkpoints/chk-4", "--pin", "p"); !r.OK || !r.Pinned {
		t.Errorf("where the head is seen: %+v", r)
	}
}

func TestAgent_NamesTheHeadThatCannotBeRead(t *testing.T) {
	dir := t.TempDir()
	writeSnapshot(t, dir+"/savepoints/savepoint-012345-a", record.Savepoint)
	if err := os.MkdirAll(dir+"/ns/words/0123456789", 0o750); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir+"/ns/words/0123456789/"+snapshot.HeadName, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	r := agent(t, "remove", "--storage", fmt.Sprintf(`{"volume":{"path":%q}}`, dir), "--path", "savepoints/savepoint-012345-a")
	if r.OK || r.Problem == nil || r.Problem.Reason != contract.RestoreCorrupt || r.Problem.Remedy == "" || !strings.Contains(r.Problem.Message, "ns/words/0123456789/head.json") {
		t.Errorf("got %+v, %+v", r, r.Problem)
	}
}
