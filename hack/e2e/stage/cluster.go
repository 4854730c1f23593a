// SPDX-License-Identifier: Apache-2.0

package stage

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// Kind of a cluster.
type Kind string

// The kinds.
const (
	// Local is the cluster of hack/localcluster; it is started when it isn't up.
	Local Kind = "local"
	// InDocker is a cluster of kind, with the name in KIND_CLUSTER_NAME or "kind".
	InDocker Kind = "kind"
	// Current is the cluster of the current context. Its nodes must have the images already.
	Current Kind = "current"
)

// Kinds lists the kinds for a usage text.
const Kinds = "local, kind or current"

// Cluster is one that can be worked with.
type Cluster struct {
	Kind Kind
	// Root is the root of the repository.
	Root string
	// Log gets what is being done, a line each; nil for nothing.
	Log func(format string, args ...any)
}

// Open returns a cluster of the given kind. It finds the repository from the working directory.
func Open(kind Kind, log func(format string, args ...any)) (*Cluster, error) {
	switch kind {
	case Local, InDocker, Current:
	default:
		return nil, fmt.Errorf("unknown cluster %q: want %s", kind, Kinds)
	}
	root, err := findRoot()
	if err != nil {
		return nil, err
	}
	if log == nil {
		log = func(string, ...any) {}
	}
	return &Cluster{Kind: kind, Root: root, Log: log}, nil
}

// findRoot looks for go.mod from the working directory upwards.
func findRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for ; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", fmt.Errorf("no go.mod above the working directory: run this inside the repository")
		}
	}
}

// Kubeconfig is the path of the kubeconfig, empty for the user's own.
func (c *Cluster) Kubeconfig() string {
	if c.Kind == Local {
		return filepath.Join(c.Root, "bin", "kubeconfig")
	}
	return ""
}

// RESTConfig is how to reach the API server.
func (c *Cluster) RESTConfig() (*rest.Config, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = c.Kubeconfig()
	overrides := &clientcmd.ConfigOverrides{}
	if c.Kind == InDocker {
		overrides.CurrentContext = "kind-" + kindName()
	}
	cfg, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, overrides).ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("reading the kubeconfig of the %s cluster: %w", c.Kind, err)
	}
	const unlimited = -1
	cfg.QPS = unlimited
	return cfg, nil
}

// kindName is the name of the cluster of kind.
func kindName() string {
	if name := os.Getenv("KIND_CLUSTER_NAME"); name != "" {
		return name
	}
	return "kind"
}

// KubectlPath is the kubectl that is used: that of the local cluster, or the user's.
func (c *Cluster) KubectlPath() string {
	own := filepath.Join(c.Root, "bin", "k8s", "kubectl")
	if _, err := os.Stat(own); err == nil {
		return own
	}
	return "kubectl"
}

// Kubectl runs kubectl and returns what it prints.
func (c *Cluster) Kubectl(ctx context.Context, args ...string) (string, error) {
	return c.KubectlWith(ctx, nil, args...)
}

// KubectlWith runs kubectl with an input.
func (c *Cluster) KubectlWith(ctx context.Context, input []byte, args ...string) (string, error) {
	var to []string
	switch c.Kind {
	case Local:
		to = []string{"--kubeconfig", c.Kubeconfig()}
	case InDocker:
		to = []string{"--context", "kind-" + kindName()}
	default:
	}
	cmd := exec.CommandContext(ctx, c.KubectlPath(), append(to, args...)...)
	cmd.Dir, cmd.Stdin = c.Root, bytes.NewReader(input)
	return output(cmd)
}

// Up starts the local cluster, if it isn't up; another one must be.
func (c *Cluster) Up(ctx context.Context) error {
	if c.Kind == Local {
		c.Log("Starting the cluster (several minutes of building the first time)")
		return c.stream(ctx, "make", "--no-print-directory", "cluster-up")
	}
	if _, err := c.Kubectl(ctx, "version"); err != nil {
		return fmt.Errorf("reaching the %s cluster: %w", c.Kind, err)
	}
	return nil
}

// Down ends the local cluster; another one is left alone.
func (c *Cluster) Down(ctx context.Context) error {
	if c.Kind != Local {
		return nil
	}
	c.Log("Ending the cluster")
	return c.stream(ctx, "make", "--no-print-directory", "cluster-down")
}

// stream runs a command in the root and logs its lines.
func (c *Cluster) stream(ctx context.Context, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = c.Root
	r, w := io.Pipe()
	cmd.Stdout, cmd.Stderr = w, w
	logged := make(chan []string, 1)
	go func() { logged <- logLines(r, c.Log) }()
	err := cmd.Run()
	_ = w.Close()
	if last := <-logged; err != nil {
		return fmt.Errorf("running %s %s: %w\n%s", name, strings.Join(args, " "), err, strings.Join(last, "\n"))
	}
	return nil
}

// run runs a command in a folder below the root, silently unless it fails.
func (c *Cluster) run(ctx context.Context, dir string, env []string, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Env = filepath.Join(c.Root, dir), append(os.Environ(), env...)
	_, err := output(cmd)
	return err
}

// output runs a command and returns its standard output; its error has what was printed.
func output(cmd *exec.Cmd) (string, error) {
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("running %s: %w\n%s%s", strings.Join(cmd.Args, " "), err, out.String(), errs.String())
	}
	return out.String(), nil
}

// SignalComponent sends a signal to a component of a local cluster, such as kubelet or kube-apiserver.
func (c *Cluster) SignalComponent(ctx context.Context, component string, s Signal) error {
	if c.Kind != Local {
		return fmt.Errorf("sending SIG%s to %s: only the components of a local cluster can be signalled", s, component)
	}
	return c.run(ctx, filepath.Join("hack", "localcluster"), nil, "go", "run", ".", "signal", component, string(s))
}
