// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

var signals = map[string]syscall.Signal{
	"KILL": syscall.SIGKILL, "STOP": syscall.SIGSTOP, "CONT": syscall.SIGCONT, "USR1": syscall.SIGUSR1,
}

// minID is how long a container id must be at least, so that nothing else is hit.
const minID = 32

// handleSignal sends a signal (parameter signal: KILL, STOP, CONT or USR1) to all processes of a container (parameter container: its id), or
// to those of its shim on the node (parameter shim: the id of the pod's sandbox, which is also found by that of a container).
func handleSignal(w http.ResponseWriter, r *http.Request) {
	sig, ok := signals[r.FormValue("signal")]
	id, shim := r.FormValue("container"), r.FormValue("shim")
	if !ok || len(max(id, shim)) < minID {
		http.Error(w, "want signal=KILL|STOP|CONT|USR1 and container=ID or shim=ID", http.StatusBadRequest)
		return
	}
	pids, err := processes(id)
	if shim != "" {
		pids, err = shims(shim)
	}
	if err == nil && len(pids) == 0 {
		err = fmt.Errorf("no process of container %q or shim of %q on this node", id, shim)
	}
	for _, pid := range pids {
		if err == nil {
			err = syscall.Kill(pid, sig)
		}
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	fmt.Fprintln(w, pids)
}

// processes finds those whose control group belongs to a container.
func processes(id string) (pids []int, err error) {
	if id == "" {
		return nil, nil
	}
	return find(func(dir string) bool {
		b, err := os.ReadFile(filepath.Join(dir, "cgroup"))
		return err == nil && strings.Contains(string(b), id)
	})
}

// shims finds the containerd shim that looks after a container: the parent of its first process.
func shims(id string) (pids []int, err error) {
	children, err := processes(id)
	if err != nil {
		return nil, err
	}
	seen := map[int]bool{}
	for _, pid := range children {
		parent, err := parentOf(pid)
		if err != nil {
			return nil, err
		}
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", parent))
		if err == nil && strings.Contains(string(b), "containerd-shim") && !seen[parent] {
			seen[parent] = true
			pids = append(pids, parent)
		}
	}
	return pids, nil
}

// parentOf reads the parent of a process.
func parentOf(pid int) (int, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(b)) {
		if value, ok := strings.CutPrefix(line, "PPid:"); ok {
			return strconv.Atoi(strings.TrimSpace(value))
		}
	}
	return 0, fmt.Errorf("process %d has no parent", pid)
}

// find lists the processes whose folder below /proc is as wanted.
func find(wanted func(dir string) bool) (pids []int, err error) {
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil, err
	}
	for _, dir := range dirs {
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err == nil && wanted(dir) {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}
