// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-stream/weir/runtime/contract"
)

// programFile writes a StreamJob whose job is a program.
func programFile(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "job.yaml")
	const text = `apiVersion: stream.weir.dev/v1alpha1
kind: StreamJob
metadata: {name: j}
spec:
  parallelism: 2
  program: {image: "example.com/job:1", args: [--keys, "9"]}
`
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestRun_RefusesAProgram(t *testing.T) {
	path := programFile(t)
	code, out, errs := weir(t, "run", path)
	if code != exitFailed || out != "" {
		t.Errorf("exit code %d, stdout %q", code, out)
	}
	for _, want := range []string{"spec.program is a job of its own program", "example.com/job:1", "weir config " + path + " >job.json", "PROGRAM run --job job.json"} {
		if !strings.Contains(errs, want) {
			t.Errorf("stderr %q lacks %q", errs, want)
		}
	}
}

func TestConfig_OfAProgram(t *testing.T) {
	code, out, errs := weir(t, "config", programFile(t))
	if code != exitOK || errs != "" {
		t.Fatalf("exit code %d, stderr %q", code, errs)
	}
	var got contract.JobConfig
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		t.Fatal(err)
	}
	want := contract.JobConfig{Namespace: "default", Name: "j", Parallelism: 2, Args: []string{"--keys", "9"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("configuration (-want +got):\n%s", diff)
	}
}

func TestValidate_OfAProgramSaysWhatItCannotCheck(t *testing.T) {
	code, out, errs := weir(t, "validate", programFile(t))
	if code != exitOK || errs != "" || !strings.Contains(out, `StreamJob "j" is valid; its graph is built and checked by its program alone`) {
		t.Errorf("exit code %d, stdout %q, stderr %q", code, out, errs)
	}
}
