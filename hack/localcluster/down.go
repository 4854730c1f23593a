// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// grace is how long a process has to end by itself.
const grace = 5 * time.Second

// down ends and removes everything, the pods first. It goes on over errors and returns them all.
func (c *cluster) down(ctx context.Context) error {
	_, stateErr := os.Stat(c.state)
	if _, linkErr := net.InterfaceByName(nodeBridge); linkErr != nil && errors.Is(stateErr, fs.ErrNotExist) {
		c.sayf("There is no cluster")
		return nil
	}
	var errs []error
	sockets := c.sockets()
	// Nobody may start pods any more.
	for _, name := range []string{"kubelet", "kube-controller-manager", "kube-scheduler"} {
		errs = append(errs, c.stop(name))
	}
	c.sayf("Ending the pods")
	errs = append(errs, c.stopContainers(ctx))
	for _, p := range slices.Backward(c.components()) {
		errs = append(errs, c.stop(p.name))
	}
	errs = append(errs, c.endShims(), c.removeRules(ctx), c.networkDown(ctx), unmountBelow(c.state), removeCgroups(), c.removeOutside(sockets))
	if err := errors.Join(errs...); err != nil {
		return err
	}
	if err := os.RemoveAll(c.state); err != nil {
		return err
	}
	if err := removeExisting(c.kubeconfig("admin")); err != nil {
		return err
	}
	c.sayf("The cluster is down")
	return nil
}

func (c *cluster) stop(name string) error {
	s, ok := c.running(name)
	if ok {
		if err := s.end(grace); err != nil {
			return fmt.Errorf("ending %s: %w", name, err)
		}
	}
	return removeExisting(c.pidFile(name))
}

// stopContainers kills all containers, as far as containerd still runs.
func (c *cluster) stopContainers(ctx context.Context) error {
	if _, ok := c.running("containerd"); !ok {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	out, err := c.ctr(ctx, "tasks", "ls", "-q")
	if err != nil {
		c.sayf("Asking containerd for its containers: %v", err)
		return nil // their shims are found below
	}
	ids := strings.Fields(out)
	if len(ids) == 0 {
		return nil
	}
	for _, id := range ids {
		_, _ = c.ctr(ctx, "tasks", "kill", "--signal", "SIGKILL", "--all", id) // one that has ended just now is fine
	}
	_, _ = c.ctr(ctx, append([]string{"tasks", "delete", "--force"}, ids...)...)
	return nil
}

// endShims ends the shims of this cluster's containerd that are left, and what runs below them: they name its socket in their arguments.
func (c *cluster) endShims() error {
	pids, err := processes()
	if err != nil {
		return err
	}
	children := map[int][]int{}
	var shims []int
	for _, pid := range pids {
		children[parent(pid)] = append(children[parent(pid)], pid)
		if args := arguments(pid); len(args) > 0 && filepath.Base(args[0]) == "containerd-shim-runc-v2" && slices.Contains(args, c.containerdSocket()) {
			shims = append(shims, pid)
		}
	}
	for _, shim := range shims {
		for _, pid := range append(descendants(children, shim), shim) {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
	deadline := time.Now().Add(grace)
	for _, shim := range shims {
		for syscall.Kill(shim, 0) == nil && !zombie(shim) {
			if time.Now().After(deadline) {
				return fmt.Errorf("ending process %d of a container: it doesn't end", shim)
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
	return nil
}

func zombie(pid int) bool {
	_, state, err := processStart(pid)
	return err != nil || state == "Z"
}

func parent(pid int) int {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	if len(fields) < 2 {
		return 0
	}
	n, _ := strconv.Atoi(fields[1]) // a number, as the kernel writes it
	return n
}

func descendants(children map[int][]int, pid int) []int {
	var out []int
	for _, child := range children[pid] {
		out = append(out, descendants(children, child)...)
		out = append(out, child)
	}
	return out
}

// mountPoints returns what is mounted below a folder, in the order in which it was.
func mountPoints(mountinfo []byte, dir string) []string {
	const pointField = 4
	var points []string
	for s := bufio.NewScanner(bytes.NewReader(mountinfo)); s.Scan(); {
		fields := strings.Fields(s.Text())
		if len(fields) <= pointField {
			continue
		}
		point := strings.ReplaceAll(fields[pointField], `\040`, " ")
		if strings.HasPrefix(point, strings.TrimSuffix(dir, "/")+"/") {
			points = append(points, point)
		}
	}
	return points
}

// removeCgroups removes the empty groups that the kubelet leaves.
func removeCgroups() error {
	roots, err := filepath.Glob("/sys/fs/cgroup/*/kubepods")
	if err != nil {
		return err
	}
	if _, err := os.Stat("/sys/fs/cgroup/kubepods"); err == nil {
		roots = append(roots, "/sys/fs/cgroup/kubepods")
	}
	for _, root := range roots {
		var dirs []string
		_ = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				dirs = append(dirs, path)
			}
			return nil
		})
		for _, dir := range slices.Backward(dirs) {
			_ = os.Remove(dir) // a group that isn't empty is none of ours
		}
	}
	return nil
}
