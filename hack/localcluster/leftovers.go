// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Folders that Kubernetes and containerd use besides the cluster's own, whatever they are configured to.
const (
	kubeletDir  = "/var/lib/kubelet"
	podLogLinks = "/var/log/containers"
	cniCache    = "/var/lib/cni/results"
	shimSockets = "/run/containerd/s"
)

// outsideFolders are those folders and the ones above them, the deepest first.
func outsideFolders() []string {
	return []string{
		filepath.Join(kubeletDir, "device-plugins"), kubeletDir, podLogLinks, cniCache, filepath.Dir(cniCache), shimSockets,
		filepath.Dir(shimSockets),
	}
}

// made is the file that holds which of the folders were not there before the cluster.
func (c *cluster) made() string { return c.path("made") }

// rememberFolders writes down which folders outside its own the cluster is going to make; once.
func (c *cluster) rememberFolders() error {
	if _, err := os.Stat(c.made()); err == nil {
		return nil
	}
	var missing []string
	for _, dir := range outsideFolders() {
		if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
			missing = append(missing, dir)
		}
	}
	return os.WriteFile(c.made(), []byte(strings.Join(missing, "\n")), 0o600)
}

// sockets are those of the shims, which lie outside the cluster's folder and stay when a shim is killed.
func (c *cluster) sockets() []string {
	files, err := filepath.Glob(c.path("run", "containerd", "io.containerd.runtime.v2.task", "*", "*", "bootstrap.json"))
	if err != nil {
		return nil // the pattern is right
	}
	var out []string
	for _, f := range files {
		var shim struct{ Address string }
		b, err := os.ReadFile(f)
		if err != nil || json.Unmarshal(b, &shim) != nil {
			continue // of a container that is just being made or removed
		}
		if socket, ok := strings.CutPrefix(shim.Address, "unix://"); ok && filepath.Dir(socket) == shimSockets {
			out = append(out, socket)
		}
	}
	return out
}

// removeOutside removes what the cluster has put outside its own folder: what points to its folder, the sockets, and the
// folders that it has made, as far as they are empty then.
func (c *cluster) removeOutside(sockets []string) error {
	errs := []error{removeIf(podLogLinks, func(file string) bool {
		target, err := os.Readlink(file)
		return err == nil && strings.HasPrefix(target, c.state+"/")
	}), removeIf(cniCache, func(file string) bool {
		b, err := os.ReadFile(file)
		return err == nil && strings.Contains(string(b), `"netns":"`+c.state+"/")
	})}
	for _, s := range sockets {
		errs = append(errs, removeExisting(s))
	}
	made, err := os.ReadFile(c.made())
	if err != nil {
		return errors.Join(errs...) // it never got that far
	}
	for dir := range strings.FieldsSeq(string(made)) {
		if strings.HasPrefix(dir, kubeletDir) {
			errs = append(errs, removeExisting(filepath.Join(dir, "kubelet.sock")))
		}
		_ = os.Remove(dir) // one that isn't empty is used by somebody else meanwhile
	}
	return errors.Join(errs...)
}

// removeIf removes the files of a folder that are ours.
func removeIf(dir string, ours func(file string) bool) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	errs := []error{err}
	for _, e := range entries {
		if file := filepath.Join(dir, e.Name()); ours(file) {
			errs = append(errs, removeExisting(file))
		}
	}
	return errors.Join(errs...)
}

func removeExisting(file string) error {
	if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// removeRules removes the packet filter rules of the kubelet and of kube-proxy. All of that kind are this cluster's, as up
// refuses a machine that is a node of another.
func (c *cluster) removeRules(ctx context.Context) error {
	if _, err := os.Stat(c.logFile("kubelet")); errors.Is(err, fs.ErrNotExist) {
		return nil // it never ran
	}
	var errs []error
	for _, family := range []string{"iptables", "ip6tables"} {
		save := exec.CommandContext(ctx, family+"-save")
		rules, err := save.Output()
		if err != nil {
			errs = append(errs, fmt.Errorf("reading the packet filter rules: %s: %w", family+"-save", err))
			continue
		}
		script := removal(string(rules))
		if script == "" {
			continue
		}
		restore := exec.CommandContext(ctx, family+"-restore", "--noflush")
		restore.Stdin = strings.NewReader(script)
		if out, err := restore.CombinedOutput(); err != nil {
			errs = append(errs, fmt.Errorf("removing packet filter rules: %s: %w\n%s", family+"-restore", err, out))
		}
	}
	return errors.Join(errs...)
}

// removal turns what iptables-save prints into what iptables-restore needs to remove the chains of Kubernetes, and the rules of
// other chains that lead there. It is empty when there are none.
func removal(saved string) string {
	const prefix = "KUBE-"
	var out strings.Builder
	var table string
	var jumps, chains []string
	for line := range strings.Lines(saved) {
		line = strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, "*"):
			table, jumps, chains = line, nil, nil
		case strings.HasPrefix(line, ":"+prefix):
			name, _, _ := strings.Cut(line[1:], " ")
			chains = append(chains, name)
		case strings.HasPrefix(line, "-A ") && !strings.HasPrefix(line, "-A "+prefix) && strings.Contains(line, " -j "+prefix):
			jumps = append(jumps, "-D"+strings.TrimPrefix(line, "-A"))
		case line == "COMMIT" && len(jumps)+len(chains) > 0:
			fmt.Fprintln(&out, table)
			for _, jump := range jumps {
				fmt.Fprintln(&out, jump)
			}
			for _, chain := range chains {
				fmt.Fprintln(&out, "-F", chain)
			}
			for _, chain := range chains {
				fmt.Fprintln(&out, "-X", chain)
			}
			fmt.Fprintln(&out, line)
		}
	}
	return out.String()
}
