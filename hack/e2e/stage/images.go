// SPDX-License-Identifier: Apache-2.0

package stage

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
)

// Image is a container image that is built from this repository.
type Image struct {
	// Name of its archive in dist, and its Tag.
	Name, Tag string
	// Entrypoint is the program that it runs.
	Entrypoint string
	// Binaries are the programs in it.
	Binaries []Binary
}

// Binary is one program of an image.
type Binary struct {
	// Path in the image, and the Package that it is built from, in the module of folder Module.
	Path, Package, Module string
	// Flags are added to those of the linker.
	Flags string
}

// Images of the operator and what the tests and the demonstration need.
func Images() []Image {
	return []Image{
		{Name: "weir", Tag: "weir:dev", Entrypoint: "/manager", Binaries: []Binary{
			{Path: "/manager", Package: "./cmd/manager"},
			{Path: "/engine", Package: "./cmd/engine"},
			{Path: "/weir", Package: "./cmd/weir"},
		}},
		{Name: "weir-s3", Tag: "weir-s3:dev", Entrypoint: "/versitygw", Binaries: []Binary{
			{Path: "/versitygw", Package: "github.com/versity/versitygw/cmd/versitygw", Module: "hack/servers"},
		}},
		{Name: "weir-tool", Tag: "weir-tool:dev", Entrypoint: "/tool", Binaries: []Binary{{Path: "/tool", Package: "./hack/e2e/tool"}}},
		{Name: "weir-ledger-v1", Tag: "weir-ledger:v1", Entrypoint: "/ledger", Binaries: []Binary{
			{Path: "/ledger", Package: "./examples/ledger", Flags: "-X main.edition=v1"},
		}},
		{Name: "weir-ledger-v2", Tag: "weir-ledger:v2", Entrypoint: "/ledger", Binaries: []Binary{
			{Path: "/ledger", Package: "./examples/ledger", Flags: "-X main.edition=v2"},
		}},
	}
}

// Archive is the path of the archive of an image.
func (c *Cluster) Archive(i Image) string { return filepath.Join(c.Root, "dist", i.Name+"-image.tar") }

// Build builds the images into dist.
func (c *Cluster) Build(ctx context.Context, images []Image) error {
	for _, i := range images {
		c.Log("Building image %s", i.Tag)
		if err := c.build(ctx, i); err != nil {
			return fmt.Errorf("building image %s: %w", i.Tag, err)
		}
	}
	return nil
}

func (c *Cluster) build(ctx context.Context, i Image) error {
	folder := filepath.Join(c.Root, "bin", "image", i.Name)
	if err := os.MkdirAll(folder, 0o750); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(c.Root, "dist"), 0o750); err != nil {
		return err
	}
	const nonroot = "65532"
	args := []string{"run", ".", "--output", c.Archive(i), "--tag", i.Tag, "--entrypoint", i.Entrypoint, "--user", nonroot}
	for _, b := range i.Binaries {
		file := filepath.Join(folder, filepath.Base(b.Path))
		err := c.run(ctx, b.Module, []string{"CGO_ENABLED=0", "GOOS=linux", "GOARCH=" + runtime.GOARCH},
			"go", "build", "-trimpath", "-ldflags", "-s -w "+b.Flags, "-o", file, b.Package)
		if err != nil {
			return err
		}
		args = append(args, "--file", file+":"+b.Path)
	}
	return c.run(ctx, filepath.Join("hack", "image"), nil, "go", args...)
}

// Load brings those images to the nodes of the cluster that it doesn't have yet. Those of the current context must have them already.
func (c *Cluster) Load(ctx context.Context, images []Image) error {
	if c.Kind == Current {
		return nil
	}
	loaded, err := c.readRecord(ctx)
	if err != nil {
		return err
	}
	var archives []string
	for _, i := range images {
		digest, err := c.digest(i)
		if err != nil {
			return err
		}
		if loaded[i.Name] != digest {
			loaded[i.Name] = digest
			archives = append(archives, c.Archive(i))
		}
	}
	if len(archives) == 0 {
		return nil
	}
	c.Log("Loading %d images into the cluster", len(archives))
	if err := c.loadArchives(ctx, archives); err != nil {
		return err
	}
	return c.writeRecord(ctx, loaded)
}

func (c *Cluster) loadArchives(ctx context.Context, archives []string) error {
	if c.Kind == Local {
		return c.run(ctx, filepath.Join("hack", "localcluster"), nil, "go", append([]string{"run", ".", "load-image"}, archives...)...)
	}
	for _, a := range archives {
		if err := c.run(ctx, ".", nil, "kind", "load", "image-archive", "--name", kindName(), a); err != nil {
			return err
		}
	}
	return nil
}

// digest of the archive of an image.
func (c *Cluster) digest(i Image) (string, error) {
	f, err := os.Open(c.Archive(i))
	if err != nil {
		return "", fmt.Errorf("reading the image %s: %w", i.Tag, err)
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", fmt.Errorf("reading the image %s: %w", i.Tag, err)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
