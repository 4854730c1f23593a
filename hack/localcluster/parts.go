// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
)

// part is a set of binaries that is built from one module.
type part struct {
	name string
	// module is the folder of the module below this one, packages what is built of it.
	module   string
	packages []string
	// output is where it goes below bin: a folder that ends in "/" for several packages, or a file.
	output string
	// envtest says that the API tests need it.
	envtest bool
}

// binaries are the files that the part consists of, below bin.
func (p part) binaries() []string {
	if !strings.HasSuffix(p.output, "/") {
		return []string{p.output}
	}
	var out []string
	for _, pkg := range p.packages {
		out = append(out, filepath.Join(p.output, filepath.Base(pkg)))
	}
	return out
}

func parts() []part {
	const k8s, containerd, cni = "k8s.io/kubernetes/cmd/", "github.com/containerd/containerd/v2/cmd/", "github.com/containernetworking/plugins/plugins/"
	return []part{
		{"etcd", "etcd", []string{"."}, "etcd", true},
		{"kube-apiserver", "kubernetes", []string{k8s + "kube-apiserver", k8s + "kubectl"}, "./", true},
		{"kubernetes", "kubernetes", []string{k8s + "kube-controller-manager", k8s + "kube-scheduler", k8s + "kubelet", k8s + "kube-proxy"}, "./", false},
		{"containerd", "containerd", []string{containerd + "containerd", containerd + "containerd-shim-runc-v2", containerd + "ctr"}, "./", false},
		{"cni", "cni", []string{cni + "main/bridge", cni + "main/loopback", cni + "ipam/host-local", cni + "meta/portmap"}, "cni/", false},
		{"coredns", "coredns", []string{"."}, "coredns", false},
		{"pause", "pause", []string{"."}, "pause", false},
	}
}

// build builds the parts that are missing or out of date.
func (c *cluster) build(ctx context.Context, envtest bool) error {
	for _, p := range parts() {
		if envtest && !p.envtest {
			continue
		}
		if err := c.buildPart(ctx, p); err != nil {
			return fmt.Errorf("building %s: %w", p.name, err)
		}
	}
	return nil
}

func (c *cluster) buildPart(ctx context.Context, p part) error {
	dir := filepath.Join(c.root, "hack", "localcluster", p.module)
	want, err := stamp(dir, p)
	if err != nil {
		return err
	}
	file := filepath.Join(c.bin, "."+p.name+".stamp")
	if got, err := os.ReadFile(file); err == nil && string(got) == want && c.has(p) {
		return nil
	}
	c.sayf("Building %s (a cold build can take some minutes)", p.name)
	output := filepath.Join(c.bin, p.output)
	if strings.HasSuffix(p.output, "/") {
		output += "/"
	}
	if err := os.MkdirAll(filepath.Join(c.bin, "cni"), 0o755); err != nil {
		return err
	}
	flags, err := linkerFlags(dir)
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "go", append([]string{"build", "-trimpath", "-ldflags", flags, "-o", output}, p.packages...)...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if err := cmd.Run(); err != nil {
		return err
	}
	return os.WriteFile(file, []byte(want), 0o644)
}

func (c *cluster) has(p part) bool {
	return !slices.ContainsFunc(p.binaries(), func(b string) bool {
		_, err := os.Stat(filepath.Join(c.bin, b))
		return err != nil
	})
}

// stamp sums up what a part is built from.
func stamp(dir string, p part) (string, error) {
	h := sha256.New()
	fmt.Fprintln(h, runtime.Version(), runtime.GOARCH, p)
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		return "", err
	}
	for _, f := range files {
		if name := filepath.Base(f); name != "go.mod" && name != "go.sum" && filepath.Ext(f) != ".go" {
			continue
		}
		b, err := os.ReadFile(f)
		if err != nil {
			return "", err
		}
		h.Write(b)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

var kubernetesVersion = regexp.MustCompile(`(?m)^(?:require)?\s*k8s\.io/kubernetes v(\d+)\.(\d+)\.(\d+)`)

// linkerFlags tells Kubernetes its version, which no build from modules knows by itself.
func linkerFlags(dir string) (string, error) {
	mod, err := os.ReadFile(filepath.Join(dir, "go.mod"))
	if errors.Is(err, os.ErrNotExist) {
		return "-s -w", nil // of the main module
	}
	if err != nil {
		return "", err
	}
	m := kubernetesVersion.FindStringSubmatch(string(mod))
	if m == nil {
		return "-s -w", nil
	}
	const in = " -X k8s.io/component-base/version."
	return fmt.Sprintf("-s -w%sgitVersion=v%s.%s.%s%sgitMajor=%s%sgitMinor=%s", in, m[1], m[2], m[3], in, m[1], in, m[2]), nil
}

// tools are programs of the system that a node needs, with the Debian packages that they are in.
func tools() map[string]string {
	return map[string]string{"runc": "runc", "iptables": "iptables", "conntrack": "conntrack", "ip": "iproute2", "mount": "mount"}
}

// installTools installs what is missing.
func (c *cluster) installTools(ctx context.Context) error {
	var missing []string
	for program, pkg := range tools() {
		if _, err := exec.LookPath(program); err != nil {
			missing = append(missing, pkg)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	slices.Sort(missing)
	if _, err := exec.LookPath("apt-get"); err != nil {
		return fmt.Errorf("%s are missing and there is no apt-get: install them", strings.Join(missing, ", "))
	}
	c.sayf("Installing %s", strings.Join(missing, ", "))
	if _, err := command(ctx, "apt-get", "update", "-q"); err != nil {
		return err
	}
	_, err := command(ctx, "env", append([]string{"DEBIAN_FRONTEND=noninteractive", "apt-get", "install", "-y", "-q", "--no-install-recommends"}, missing...)...)
	return err
}
