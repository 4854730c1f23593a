// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestMountPoints_AreOnlyThoseBelow(t *testing.T) {
	info := []byte(`22 1 8:1 / / rw - ext4 /dev/a rw
23 22 0:5 / /var/lib/weir rw - tmpfs tmpfs rw
24 23 0:6 / /var/lib/weir/run/a\040b rw - tmpfs tmpfs rw
25 23 0:7 / /var/lib/weir/kubelet/pods/x rw - tmpfs tmpfs rw
26 22 0:8 / /var/lib/weirdo/x rw - tmpfs tmpfs rw
broken
`)
	want := []string{"/var/lib/weir/run/a b", "/var/lib/weir/kubelet/pods/x"}
	if diff := cmp.Diff(want, mountPoints(info, "/var/lib/weir")); diff != "" {
		t.Error(diff)
	}
}

func TestStamp_ChangesWithWhatAPartIsBuiltFrom(t *testing.T) {
	dir := t.TempDir()
	put := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put("go.mod", "module a")
	seen := map[string]string{}
	look := func(when string, p part) string {
		t.Helper()
		s, err := stamp(dir, p)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	p := part{name: "a", packages: []string{"."}}
	first := look("first", p)
	put("README", "text that isn't built")
	if look("a file that isn't built", p) != first {
		t.Error("a file that isn't built changes the stamp")
	}
	seen["first"] = first
	put("go.sum", "x")
	seen["go.sum"] = look("go.sum", p)
	put("main.go", "package main")
	seen["main.go"] = look("main.go", p)
	seen["packages"] = look("packages", part{name: "a", packages: []string{"./b"}})
	for name, s := range seen {
		for other, o := range seen {
			if name != other && s == o {
				t.Errorf("%s and %s have the same stamp", name, other)
			}
		}
	}
}

func TestLinkerFlags_NameTheVersionOfKubernetes(t *testing.T) {
	flags, err := linkerFlags("kubernetes")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(flags, "version.gitVersion=v1.") || !strings.Contains(flags, "version.gitMajor=1 ") {
		t.Errorf("got %q", flags)
	}
	if flags, err := linkerFlags("pause"); err != nil || flags != "-s -w" {
		t.Errorf("a part of the main module: got %q, %v", flags, err)
	}
}

// A process is known by its id and its start, so that a successor with the same id is never taken for it.
func TestCluster_KnowsItsProcesses(t *testing.T) {
	c := newTestCluster(t)
	if err := os.Symlink(lookPath(t, "sleep"), filepath.Join(c.bin, "sleeper")); err != nil {
		t.Fatal(err)
	}
	if err := c.start(component{name: "sleeper", args: []string{"1000"}}); err != nil {
		t.Fatal(err)
	}
	s, ok := c.running("sleeper")
	if !ok {
		t.Fatal("it doesn't run")
	}
	if other := (started{pid: s.pid, ticks: s.ticks + "0"}); other.alive() {
		t.Error("a process that started at another time is taken for it")
	}
	if err := c.start(component{name: "sleeper", args: []string{"1000"}}); err != nil {
		t.Fatal(err)
	}
	if again, _ := c.running("sleeper"); again != s {
		t.Error("it was started twice")
	}
	if err := s.end(time.Second); err != nil {
		t.Fatal(err)
	}
	if _, ok := c.running("sleeper"); ok {
		t.Error("it still runs")
	}
}

func TestCluster_WaitTellsTheEndOfTheLog(t *testing.T) {
	c := newTestCluster(t)
	if err := os.WriteFile(c.logFile("none"), []byte("first\nwhat went wrong\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	err := c.wait(t.Context(), "none", func(context.Context) error { return errors.New("not ready") })
	if err == nil || !strings.Contains(err.Error(), "what went wrong") || !strings.Contains(err.Error(), "it has ended") {
		t.Errorf("got %v", err)
	}
}

func TestCluster_RefusesWhatItDoesNotKnow(t *testing.T) {
	for _, args := range [][]string{nil, {"dance"}, {"load-image"}} {
		if err := run(t.Context(), args); err == nil {
			t.Errorf("%v was done", args)
		}
	}
}

func TestComponents_AreBuilt(t *testing.T) {
	c := newTestCluster(t)
	var built []string
	for _, p := range parts() {
		built = append(built, p.binaries()...)
	}
	for _, p := range c.components() {
		if !slices.Contains(built, p.name) {
			t.Errorf("nothing builds %s", p.name)
		}
	}
}

func newTestCluster(t *testing.T) *cluster {
	t.Helper()
	c := &cluster{root: t.TempDir(), bin: t.TempDir(), state: t.TempDir(), begin: time.Now()}
	for _, dir := range []string{"run", "log"} {
		if err := os.MkdirAll(c.path(dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

func lookPath(t *testing.T, name string) string {
	t.Helper()
	p, err := exec.LookPath(name)
	if err != nil {
		t.Fatal(err)
	}
	return p
}
