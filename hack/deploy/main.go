// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
)

const usage = `usage:
  deploy chart ROOT                         write the templates of ROOT/charts/weir
  deploy install [--image IMAGE] ROOT FILE  write everything that a cluster needs to FILE`

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "deploy:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) == 0 {
		return errors.New(usage)
	}
	flags := flag.NewFlagSet("deploy", flag.ContinueOnError)
	image := flags.String("image", "", "image of the operator and of jobs (default: that of config/default)")
	if err := flags.Parse(args[1:]); err != nil {
		return err
	}
	switch {
	case args[0] == "chart" && flags.NArg() == 1:
		return writeChart(flags.Arg(0))
	case args[0] == "install" && flags.NArg() == 2:
		return writeInstall(flags.Arg(0), flags.Arg(1), *image)
	default:
		return errors.New(usage)
	}
}

// writeInstall writes the objects of config/default to one file.
func writeInstall(root, file, image string) error {
	objects, err := render(root, "config/default")
	if err != nil {
		return err
	}
	if image != "" {
		if err := setImage(objects, image); err != nil {
			return err
		}
	}
	text, err := manifest(objects)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return fmt.Errorf("making the folder of %s: %w", file, err)
	}
	if err := os.WriteFile(file, text, 0o644); err != nil {
		return fmt.Errorf("writing the manifest: %w", err)
	}
	return nil
}

// writeChart writes the templates of the chart.
func writeChart(root string) error {
	files, err := chart(root)
	if err != nil {
		return err
	}
	if err := removeOld(filepath.Join(root, chartFolder, "templates"), files); err != nil {
		return err
	}
	for name, text := range files {
		path := filepath.Join(root, chartFolder, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return fmt.Errorf("making a folder of the chart: %w", err)
		}
		if old, err := os.ReadFile(path); err == nil && string(old) == string(text) {
			continue
		}
		if err := os.WriteFile(path, text, 0o644); err != nil {
			return fmt.Errorf("writing the chart: %w", err)
		}
	}
	return nil
}

// removeOld removes templates that were made from objects that there are no more.
func removeOld(folder string, files map[string][]byte) error {
	entries, err := os.ReadDir(folder)
	if err != nil {
		return fmt.Errorf("reading the folder of templates: %w", err)
	}
	for _, e := range entries {
		if filepath.Ext(e.Name()) != ".yaml" || files["templates/"+e.Name()] != nil {
			continue
		}
		if err := os.Remove(filepath.Join(folder, e.Name())); err != nil {
			return fmt.Errorf("removing an old template: %w", err)
		}
	}
	return nil
}
