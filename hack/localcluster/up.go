// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// pauseImage is the image of every pod's sandbox.
const pauseImage = "docker.io/library/weir-pause:1"

// readyTimeout bounds how long a component takes to be ready.
const readyTimeout = time.Minute

// up starts what doesn't run.
func (c *cluster) up(ctx context.Context) error {
	if err := c.refuseNode(); err != nil {
		return err
	}
	if err := errors.Join(c.installTools(ctx), c.build(ctx, false)); err != nil {
		return err
	}
	for _, dir := range []string{"run", "log", "etcd"} {
		if err := os.MkdirAll(c.path(dir), 0o700); err != nil {
			return err
		}
	}
	if err := errors.Join(c.rememberFolders(), c.makeCerts(), c.writeConfig()); err != nil {
		return err
	}
	if err := c.networkUp(ctx); err != nil {
		return err
	}
	for _, p := range c.components() {
		if err := c.startReady(ctx, p); err != nil {
			return err
		}
	}
	c.sayf("Waiting for the node")
	if err := c.wait(ctx, "kubelet", c.nodeReady); err != nil {
		return err
	}
	c.sayf("The cluster is up: export KUBECONFIG=%s", c.kubeconfig("admin"))
	return nil
}

// startReady starts a component, and waits until those that come after it can use it.
func (c *cluster) startReady(ctx context.Context, p component) error {
	if _, ok := c.running(p.name); !ok {
		c.sayf("Starting %s", p.name)
	}
	if err := c.start(p); err != nil {
		return err
	}
	switch p.name {
	case "kube-apiserver":
		return c.wait(ctx, p.name, func(ctx context.Context) error {
			_, err := c.kubectl(ctx, "get", "--raw=/readyz")
			return err
		})
	case "containerd":
		if err := c.wait(ctx, p.name, func(ctx context.Context) error {
			_, err := c.ctr(ctx, "version")
			return err
		}); err != nil {
			return err
		}
		return c.loadPause(ctx)
	case "etcd":
		return c.wait(ctx, p.name, func(ctx context.Context) error {
			return dial(ctx, strings.TrimPrefix(etcdURL, "http://"))
		})
	case "coredns":
		return c.wait(ctx, p.name, func(ctx context.Context) error { return get(ctx, "http://127.0.0.1:10281/ready") })
	case "kube-proxy":
		return c.wait(ctx, p.name, func(ctx context.Context) error { return get(ctx, "http://127.0.0.1:10256/healthz") })
	}
	return nil
}

func (c *cluster) nodeReady(ctx context.Context) error {
	out, err := c.kubectl(ctx, "get", "node", nodeName, "-o", `jsonpath={.status.conditions[?(@.type=="Ready")].status}`)
	if err != nil {
		return err
	}
	if out != "True" {
		return errors.New("the node is not Ready")
	}
	_, err = c.kubectl(ctx, "get", "serviceaccount", "default")
	return err
}

func (c *cluster) kubectl(ctx context.Context, args ...string) (string, error) {
	return command(ctx, filepath.Join(c.bin, "kubectl"), append([]string{"--kubeconfig", c.kubeconfig("admin")}, args...)...)
}

func (c *cluster) ctr(ctx context.Context, args ...string) (string, error) {
	return command(ctx, filepath.Join(c.bin, "ctr"), append([]string{"--address", c.containerdSocket(), "--namespace", "k8s.io"}, args...)...)
}

// loadPause brings the image of the sandbox to the node.
func (c *cluster) loadPause(ctx context.Context) error {
	if out, err := c.ctr(ctx, "images", "ls", "-q"); err != nil || strings.Contains(out, pauseImage) {
		return err
	}
	archive := c.path("pause.tar")
	cmd := exec.CommandContext(ctx, "go", "run", "./hack/image", "--output", archive, "--tag", pauseImage, "--entrypoint", "/pause",
		"--file", filepath.Join(c.bin, "pause")+":/pause")
	cmd.Dir = c.root
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("building the image %s: %w\n%s", pauseImage, err, out)
	}
	return c.loadImages(ctx, []string{archive})
}

// loadImages brings image archives to the node.
func (c *cluster) loadImages(ctx context.Context, archives []string) error {
	if _, ok := c.running("containerd"); !ok {
		return errors.New("loading images: the cluster is not up: run localcluster up")
	}
	for _, a := range archives {
		if _, err := c.ctr(ctx, "images", "import", a); err != nil {
			return fmt.Errorf("loading image %s: %w", a, err)
		}
	}
	return nil
}

// status says what runs.
func (c *cluster) status() error {
	var stopped []string
	for _, p := range c.components() {
		if s, ok := c.running(p.name); ok {
			fmt.Printf("%-24s running, process %d, log %s\n", p.name, s.pid, c.logFile(p.name))
		} else {
			stopped = append(stopped, p.name)
			fmt.Printf("%-24s not running\n", p.name)
		}
	}
	if len(stopped) > 0 {
		return fmt.Errorf("%d components don't run: localcluster up starts them", len(stopped))
	}
	fmt.Printf("export KUBECONFIG=%s\n", c.kubeconfig("admin"))
	return nil
}
