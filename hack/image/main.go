// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path"
	"runtime"
	"strings"
)

func main() {
	if err := run(os.Args[1:]); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(1)
	}
}

// run writes the image that the arguments describe.
func run(args []string) error {
	var i image
	var output string
	f := flag.NewFlagSet("image", flag.ContinueOnError)
	f.StringVar(&output, "output", "", "archive to write")
	f.StringVar(&i.tag, "tag", "", "name of the image, such as weir:dev")
	f.StringVar(&i.entrypoint, "entrypoint", "", "program that the image runs")
	f.StringVar(&i.user, "user", "65532", "user and group id that it runs as")
	f.StringVar(&i.arch, "arch", runtime.GOARCH, "architecture of the binaries")
	f.Func("file", "SOURCE:TARGET, a file of the image; can be given again", func(s string) error {
		source, target, ok := strings.Cut(s, ":")
		if !ok || !path.IsAbs(target) {
			return fmt.Errorf("%q: want SOURCE:TARGET with an absolute TARGET", s)
		}
		i.files = append(i.files, file{source, path.Clean(target)})
		return nil
	})
	if err := f.Parse(args); err != nil {
		return err
	}
	switch {
	case output == "" || i.tag == "" || i.entrypoint == "" || len(i.files) == 0:
		return errors.New("--output, --tag, --entrypoint and at least one --file are needed")
	case f.NArg() > 0:
		return fmt.Errorf("unknown argument %q", f.Arg(0))
	}
	return i.writeTo(output)
}
