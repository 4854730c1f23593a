// SPDX-License-Identifier: Apache-2.0

package main

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Media types of the OCI image specification.
const (
	typeIndex    = "application/vnd.oci.image.index.v1+json"
	typeManifest = "application/vnd.oci.image.manifest.v1+json"
	typeConfig   = "application/vnd.oci.image.config.v1+json"
	typeLayer    = "application/vnd.oci.image.layer.v1.tar"
)

// epoch is the time of everything in an image, so that the same input gives the same bytes.
var epoch = time.Unix(0, 0).UTC()

type file struct{ source, target string }

// image is one image with one layer.
type image struct {
	tag, entrypoint, user, arch string
	files                       []file
}

// descriptor points to a blob.
type descriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      string            `json:"digest"`
	Size        int64             `json:"size"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

// name is the tag with the registry and the folder that a name without them stands for.
func (i *image) name() string {
	tag := i.tag
	if !strings.Contains(path.Base(tag), ":") {
		tag += ":latest"
	}
	switch first, _, nested := strings.Cut(tag, "/"); {
	case !nested:
		return "docker.io/library/" + tag
	case !strings.ContainsAny(first, ".:") && first != "localhost":
		return "docker.io/" + tag
	}
	return tag
}

// writeTo writes the archive to a file; a file that is there is replaced only by a complete one.
func (i *image) writeTo(output string) (err error) {
	tmp, err := os.CreateTemp(filepath.Dir(output), filepath.Base(output)+".*")
	if err != nil {
		return fmt.Errorf("writing the image: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(tmp.Name()))
		}
	}()
	if err := errors.Join(i.write(tmp), tmp.Chmod(0o644), tmp.Close()); err != nil {
		return fmt.Errorf("writing the image %s: %w", i.tag, err)
	}
	return os.Rename(tmp.Name(), output)
}

func (i *image) write(w io.Writer) error {
	layer, err := i.layer()
	if err != nil {
		return err
	}
	config, err := i.config(digestOf(layer))
	if err != nil {
		return err
	}
	manifest, err := json.Marshal(map[string]any{
		"schemaVersion": 2, "mediaType": typeManifest,
		"config": describe(typeConfig, config), "layers": []descriptor{describe(typeLayer, layer)},
	})
	if err != nil {
		return err
	}
	top := describe(typeManifest, manifest)
	top.Annotations = map[string]string{"io.containerd.image.name": i.name(), "org.opencontainers.image.ref.name": i.name()}
	index, err := json.Marshal(map[string]any{"schemaVersion": 2, "mediaType": typeIndex, "manifests": []descriptor{top}})
	if err != nil {
		return err
	}
	docker, err := json.Marshal([]any{map[string]any{
		"Config": blobPath(config), "RepoTags": []string{i.name()}, "Layers": []string{blobPath(layer)},
	}})
	if err != nil {
		return err
	}
	t := tar.NewWriter(w)
	a := &archive{t: t, made: map[string]bool{}}
	for _, f := range []struct {
		name    string
		content []byte
	}{
		{"oci-layout", []byte(`{"imageLayoutVersion":"1.0.0"}`)},
		{"index.json", index},
		{"manifest.json", docker},
		{blobPath(config), config},
		{blobPath(manifest), manifest},
		{blobPath(layer), layer},
	} {
		if err := a.add(f.name, f.content, 0o644); err != nil {
			return err
		}
	}
	return t.Close()
}

// config is how the image is run.
func (i *image) config(diff string) ([]byte, error) {
	return json.Marshal(map[string]any{
		"created": epoch.Format(time.RFC3339), "architecture": i.arch, "os": "linux",
		"config": map[string]any{
			"User": i.user + ":" + i.user, "Entrypoint": []string{i.entrypoint}, "WorkingDir": "/",
			"Env":    []string{"PATH=/"},
			"Labels": map[string]string{"org.opencontainers.image.title": i.tag},
		},
		"rootfs":  map[string]any{"type": "layers", "diff_ids": []string{diff}},
		"history": []any{map[string]any{"created": epoch.Format(time.RFC3339), "created_by": "weir image"}},
	})
}

// layer is the tar archive of all files.
func (i *image) layer() ([]byte, error) {
	if _, err := strconv.ParseUint(i.user, 10, 31); err != nil {
		return nil, fmt.Errorf("the user %q is not a number", i.user)
	}
	var out bytes.Buffer
	t := tar.NewWriter(&out)
	a := &archive{t: t, made: map[string]bool{}}
	const sticky = 0o1777
	if err := a.directory("tmp", sticky); err != nil {
		return nil, err
	}
	passwd := fmt.Sprintf("root:x:0:0:root:/:\nnonroot:x:%s:%s:nonroot:/tmp:\n", i.user, i.user)
	group := fmt.Sprintf("root:x:0:\nnonroot:x:%s:\n", i.user)
	if err := errors.Join(a.add("etc/passwd", []byte(passwd), 0o644), a.add("etc/group", []byte(group), 0o644)); err != nil {
		return nil, err
	}
	files := slices.Clone(i.files)
	slices.SortFunc(files, func(a, b file) int { return strings.Compare(a.target, b.target) })
	for _, f := range files {
		content, err := os.ReadFile(f.source)
		if err != nil {
			return nil, err
		}
		if err := a.add(strings.TrimPrefix(f.target, "/"), content, 0o755); err != nil {
			return nil, err
		}
	}
	if err := t.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// archive adds files and the directories above them.
type archive struct {
	t    *tar.Writer
	made map[string]bool
}

func (a *archive) add(name string, content []byte, mode int64) error {
	if dir := path.Dir(name); dir != "." {
		if err := a.directory(dir, 0o755); err != nil {
			return err
		}
	}
	h := &tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: mode, Size: int64(len(content)), ModTime: epoch, Format: tar.FormatUSTAR}
	if err := a.t.WriteHeader(h); err != nil {
		return fmt.Errorf("adding %s: %w", name, err)
	}
	if _, err := a.t.Write(content); err != nil {
		return fmt.Errorf("adding %s: %w", name, err)
	}
	return nil
}

func (a *archive) directory(name string, mode int64) error {
	if a.made[name] || name == "." {
		return nil
	}
	if err := a.directory(path.Dir(name), 0o755); err != nil {
		return err
	}
	a.made[name] = true
	h := &tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: mode, ModTime: epoch, Format: tar.FormatUSTAR}
	if err := a.t.WriteHeader(h); err != nil {
		return fmt.Errorf("adding %s: %w", name, err)
	}
	return nil
}

func digestOf(blob []byte) string {
	sum := sha256.Sum256(blob)
	return "sha256:" + hex.EncodeToString(sum[:])
}

func blobPath(blob []byte) string { return "blobs/" + strings.Replace(digestOf(blob), ":", "/", 1) }

func describe(mediaType string, blob []byte) descriptor {
	return descriptor{MediaType: mediaType, Digest: digestOf(blob), Size: int64(len(blob))}
}
