// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// arguments returns the command line of a process; none when it is gone or part of the kernel.
func arguments(pid int) []string {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil || len(b) == 0 {
		return nil
	}
	return strings.Split(strings.TrimSuffix(string(b), "\x00"), "\x00")
}

// processes returns the ids of all processes.
func processes() ([]int, error) {
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil, err
	}
	var out []int
	for _, dir := range dirs {
		if pid, err := strconv.Atoi(filepath.Base(dir)); err == nil {
			out = append(out, pid)
		}
	}
	return out, nil
}

// find looks for a process of this cluster that no file remembers, because the program that started it was killed: one of that
// name whose arguments name the cluster's folder.
func (c *cluster) find(name string) (started, bool) {
	pids, err := processes()
	if err != nil {
		return started{}, false
	}
	for _, pid := range pids {
		if args := arguments(pid); len(args) > 0 && filepath.Base(args[0]) == name && c.named(args) {
			if ticks, state, err := processStart(pid); err == nil && state != "Z" {
				return started{pid, ticks}, true
			}
		}
	}
	return started{}, false
}

// named tells whether arguments name a file of this cluster.
func (c *cluster) named(args []string) bool {
	return slices.ContainsFunc(args, func(a string) bool { return strings.Contains(a, c.state+"/") })
}

// refuseNode refuses a machine that is a node of another cluster already: two kubelets end each other's pods.
func (c *cluster) refuseNode() error {
	pids, err := processes()
	if err != nil {
		return err
	}
	own, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		return err
	}
	for _, pid := range pids {
		args := arguments(pid)
		if len(args) == 0 || !slices.Contains([]string{"kubelet", "kube-proxy", "k3s", "kubelite", "rke2"}, filepath.Base(args[0])) || c.named(args) {
			continue
		}
		// That of a node in a container, such as kind's, has a network of its own.
		if ns, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", pid)); err == nil && ns == own {
			return fmt.Errorf("this machine is a node of another Kubernetes (process %d is %s), which a local cluster would disturb: "+
				"use that one with CLUSTER=current, or end it", pid, args[0])
		}
	}
	return nil
}
