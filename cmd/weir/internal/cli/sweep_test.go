// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-stream/weir/runtime/snapshot"
	"github.com/weir-stream/weir/runtime/snapshot/sweep"
	"github.com/weir-stream/weir/runtime/storage"
	"github.com/weir-stream/weir/runtime/storage/filestore"
)

// sweepable makes a storage with one job, an orphan and a young object, and returns the directory of the job.
func sweepable(t *testing.T, root string) string {
	t.Helper()
	store, err := filestore.Open(storage.FileConfig{Dir: root})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = store.Close() }()
	dir := "ns/job/0123456789/"
	head, err := snapshot.EncodeHead(snapshot.Head{Seq: 1, Owner: "o", Epoch: snapshot.Epoch{Grant: 1, N: 1}, JobID: "0123456789", ReservedUntil: 1})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := store.Swap(t.Context(), dir+snapshot.HeadName, head, ""); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"old", "young"} {
		if err := store.PutIfAbsent(t.Context(), dir+"shared/"+name, []byte("12345")); err != nil {
			t.Fatal(err)
		}
	}
	lost := "savepoints/savepoint-012345-lost/3-1"
	if err := store.PutIfAbsent(t.Context(), lost, []byte("12345")); err != nil {
		t.Fatal(err)
	}
	old := time.Now().Add(-sweep.MinGrace - time.Minute)
	for _, name := range []string{dir + "shared/old", lost} {
		if err := os.Chtimes(filepath.Join(root, name), old, old); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(root, dir)
}

var written = regexp.MustCompile(`\d{4}-\d\d-\d\d \d\d:\d\d:\d\d`)

func TestSnapshotSweep(t *testing.T) {
	root := t.TempDir()
	dir := sweepable(t, root)
	file := filepath.Join(t.TempDir(), "job.yaml")
	job := fmt.Sprintf(`apiVersion: stream.weir.dev/v1alpha1
kind: StreamJob
metadata: {name: job, namespace: ns}
spec:
  storage: {volume: {claimName: c, path: %s}}
  dataflow:
    operators:
    - {name: in, generator: {rows: 1}}
    - {name: out, inputs: [in], fileSink: {path: /tmp/none}}
`, root)
	if err := os.WriteFile(file, []byte(job), 0o600); err != nil {
		t.Fatal(err)
	}
	steps := []struct {
		name string
		args []string
		code int
		out  string
		errs string
	}{
		{name: "dry run", args: []string{"--dry-run", dir}, out: `ORPHAN           OBJECTS  SIZE  WRITTEN  WHY
JOB/shared/old  1        5 B   WHEN     no checkpoint that is kept refers to it
JOB: 1 object (5 B) would be deleted, 0 needed, 1 younger than 25h0m0s
`},
		{name: "grace too short", args: []string{"--grace", "1h", dir}, code: 2, errs: "a grace of 1h0m0s is too short"},
		{name: "no such directory", args: []string{dir + "x"}, code: 1, errs: "there is no such directory"},
		{name: "not a job", args: []string{root}, code: 1, errs: "there is no head.json"},
		{name: "deletes", args: []string{dir}, out: `ORPHAN           OBJECTS  SIZE  WRITTEN  WHY
JOB/shared/old  1        5 B   WHEN     no checkpoint that is kept refers to it
JOB: 1 object (5 B) deleted, 0 needed, 1 younger than 25h0m0s
`},
		{name: "nothing more", args: []string{dir}, out: "JOB: 0 objects (0 B) deleted, 0 needed, 1 younger than 25h0m0s\n"},
		{name: "of a file", args: []string{file}, out: `note: ROOT/savepoints/savepoint-012345-lost: the savepoint was never completed, which can be deleted by hand: 1 object (5 B), written WHEN
JOB: 0 objects (0 B) deleted, 0 needed, 1 younger than 25h0m0s
`},
	}
	for _, s := range steps {
		code, out, errs := weir(t, append([]string{"snapshot", "sweep"}, s.args...)...)
		out = written.ReplaceAllString(strings.NewReplacer(dir, "JOB", root, "ROOT").Replace(out), "WHEN")
		if code != s.code || !strings.Contains(errs, s.errs) || (s.errs == "" && errs != "") {
			t.Fatalf("%s: exit code %d, stderr %q", s.name, code, errs)
		}
		if diff := cmp.Diff(squeeze(s.out), squeeze(out)); diff != "" {
			t.Fatalf("%s (-want +got):\n%s", s.name, diff)
		}
	}
	for name, want := range map[string]bool{"old": false, "young": true} {
		if _, err := os.Stat(filepath.Join(dir, "shared", name)); (err == nil) != want {
			t.Errorf("%s is there: %t, want %t", name, err == nil, want)
		}
	}
}

var spaces = regexp.MustCompile(` +`)

func squeeze(s string) string { return spaces.ReplaceAllString(s, " ") }

// TestSnapshotSweep_TheServerOfAFileCanBeNamed shows that --endpoint takes the place of the endpoint in a file, which may only be known inside of a cluster.
func TestSnapshotSweep_TheServerOfAFileCanBeNamed(t *testing.T) {
	asked := make(chan string, 64)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked <- r.URL.Path
		w.WriteHeader(http.StatusForbidden)
	}))
	defer server.Close()
	t.Setenv("AWS_ACCESS_KEY_ID", "id")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	file := filepath.Join(t.TempDir(), "job.yaml")
	job := `apiVersion: stream.weir.dev/v1alpha1
kind: StreamJob
metadata: {name: job, namespace: ns}
spec:
  storage: {s3: {endpoint: "http://s3.nowhere.invalid:9000", bucket: weir}}
  dataflow:
    operators:
    - {name: in, generator: {rows: 1}}
    - {name: out, inputs: [in], fileSink: {path: /tmp/none}}
`
	if err := os.WriteFile(file, []byte(job), 0o600); err != nil {
		t.Fatal(err)
	}
	code, _, errs := weir(t, "snapshot", "sweep", "--dry-run", "--endpoint", server.URL, "--region", "us-east-1", file)
	if code != 1 || strings.Contains(errs, "nowhere.invalid") {
		t.Errorf("exit code %d, stderr %q", code, errs)
	}
	select {
	case path := <-asked:
		if !strings.HasPrefix(path, "/weir") {
			t.Errorf("the server was asked for %s", path)
		}
	default:
		t.Error("the server was not asked")
	}
}
