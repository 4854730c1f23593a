// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestValidate_ChecksSnapshots(t *testing.T) {
	tests := map[string]struct {
		spec string
		want string // of what is said against it; empty: nothing
	}{
		"of a job":              {"jobRef: {name: words}", ""},
		"in its storage":        {`path: "s3://bkt/prod/sp-1", storage: {s3: {bucket: bkt, prefix: prod}}`, ""},
		"on its volume":         {"path: /data/sp-1, storage: {volume: {claimName: c, path: /data}}", ""},
		"by a rule":             {"reclaimPolicy: Delete", `StreamSnapshot "before" is invalid: spec: Invalid value: set jobRef`},
		"in another bucket":     {`path: "s3://other/sp-1", storage: {s3: {bucket: bkt}}`, `spec.path: Invalid value: "s3://other/sp-1": it is not in spec.storage, s3://bkt`},
		"beside the prefix":     {`path: "s3://bkt/production/sp-1", storage: {s3: {bucket: bkt, prefix: prod}}`, "it is not in spec.storage, s3://bkt/prod"},
		"on no volume, but S3":  {`path: "s3://bkt/sp-1", storage: {volume: {claimName: c, path: /data}}`, "it is not in spec.storage, /data"},
		"beside the volume":     {"path: /database/sp-1, storage: {volume: {claimName: c, path: /data}}", "it is not in spec.storage, /data"},
		"of a job, path of one": {`jobRef: {name: words}, path: "s3://anywhere/sp-1"`, ""},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "s.yaml")
			text := "apiVersion: stream.weir.dev/v1alpha1\nkind: StreamSnapshot\nmetadata: {name: before}\nspec: {" + tc.spec + "}\n"
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			code, out, errs := weir(t, "validate", path)
			if tc.want == "" {
				if code != exitOK || out != path+": StreamSnapshot \"before\" is valid\n" || errs != "" {
					t.Errorf("exit code %d, stdout %q, stderr %q", code, out, errs)
				}
				return
			}
			if code != exitFailed || out != "" || !strings.Contains(errs, tc.want) {
				t.Errorf("exit code %d, stdout %q, stderr %q, want %q", code, out, errs, tc.want)
			}
		})
	}
}

func TestValidate_NamesTheKindsThatItChecks(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s.yaml")
	if err := os.WriteFile(path, []byte("apiVersion: stream.weir.dev/v1alpha1\nkind: StreamSnapshots\nmetadata: {name: a}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	code, out, errs := weir(t, "validate", path)
	if code != exitFailed || out != "" || !strings.Contains(errs, `kind: Invalid value: "StreamSnapshots": must be StreamJob or StreamSnapshot`) {
		t.Errorf("exit code %d, stdout %q, stderr %q", code, out, errs)
	}
}
