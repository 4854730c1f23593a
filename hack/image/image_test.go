// SPDX-License-Identifier: Apache-2.0

package main

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestImage_IsWhatRuntimesTake(t *testing.T) {
	dir := t.TempDir()
	source, output := filepath.Join(dir, "prog"), filepath.Join(dir, "out.tar")
	if err := os.WriteFile(source, []byte("program"), 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{"--output", output, "--tag", "weir:dev", "--entrypoint", "/bin/prog", "--arch", "amd64", "--file", source + ":/bin/prog"}
	if err := run(args); err != nil {
		t.Fatal(err)
	}
	first, err := os.ReadFile(output)
	if err != nil {
		t.Fatal(err)
	}
	files := untar(t, first)
	var docker []struct {
		Config           string
		RepoTags, Layers []string
	}
	decode(t, files["manifest.json"], &docker)
	if diff := cmp.Diff([]string{"docker.io/library/weir:dev"}, docker[0].RepoTags); diff != "" {
		t.Error(diff)
	}
	var index struct{ Manifests []descriptor }
	decode(t, files["index.json"], &index)
	var manifest struct {
		Config descriptor
		Layers []descriptor
	}
	blob := func(d descriptor) []byte {
		b := files["blobs/"+strings.Replace(d.Digest, ":", "/", 1)]
		if digestOf(b) != d.Digest || int64(len(b)) != d.Size {
			t.Fatalf("the blob of %+v is not what it says", d)
		}
		return b
	}
	decode(t, blob(index.Manifests[0]), &manifest)
	var config struct {
		Config struct {
			User       string
			Entrypoint []string
		}
		Rootfs struct {
			DiffIDs []string `json:"diff_ids"`
		}
	}
	decode(t, blob(manifest.Config), &config)
	if config.Config.User != "65532:65532" || config.Config.Entrypoint[0] != "/bin/prog" || config.Rootfs.DiffIDs[0] != manifest.Layers[0].Digest {
		t.Errorf("the configuration is %+v", config)
	}
	layer := untar(t, blob(manifest.Layers[0]))
	if string(layer["bin/prog"]) != "program" || !strings.Contains(string(layer["etc/passwd"]), "nonroot:x:65532:") {
		t.Errorf("the layer holds %q", layer)
	}
	if _, ok := layer["tmp/"]; !ok {
		t.Error("there is no /tmp")
	}
	if err := run(args); err != nil {
		t.Fatal(err)
	}
	if second, _ := os.ReadFile(output); !bytes.Equal(first, second) {
		t.Error("the same input gave other bytes")
	}
}

func TestImage_Names(t *testing.T) {
	for tag, want := range map[string]string{
		"weir": "docker.io/library/weir:latest", "weir:dev": "docker.io/library/weir:dev", "team/weir:1": "docker.io/team/weir:1",
		"localhost/weir:1": "localhost/weir:1", "registry.test:5000/weir:1": "registry.test:5000/weir:1",
	} {
		if got := (&image{tag: tag}).name(); got != want {
			t.Errorf("%s is %s, want %s", tag, got, want)
		}
	}
}

func TestRun_SaysWhatIsWrong(t *testing.T) {
	dir := t.TempDir()
	out := filepath.Join(dir, "out.tar")
	tests := map[string]struct {
		args []string
		want string
	}{
		"nothing":      {nil, "are needed"},
		"no target":    {[]string{"--file", "a"}, "want SOURCE:TARGET"},
		"no such file": {[]string{"--output", out, "--tag", "a", "--entrypoint", "/a", "--file", dir + "/none:/a"}, "no such file"},
		"bad user":     {[]string{"--output", out, "--tag", "a", "--entrypoint", "/a", "--user", "me", "--file", "a:/a"}, "not a number"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			if err := run(tc.args); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
			if _, err := os.Stat(out); err == nil {
				t.Error("an archive was left")
			}
		})
	}
}

func decode(t *testing.T, b []byte, v any) {
	t.Helper()
	if err := json.Unmarshal(b, v); err != nil {
		t.Fatalf("%v in %q", err, b)
	}
}

func untar(t *testing.T, b []byte) map[string][]byte {
	t.Helper()
	out := map[string][]byte{}
	r := tar.NewReader(bytes.NewReader(b))
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		if out[h.Name], err = io.ReadAll(r); err != nil {
			t.Fatal(err)
		}
	}
}
