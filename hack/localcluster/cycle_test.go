// SPDX-License-Identifier: Apache-2.0

//go:build linux && cluster

package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const (
	testNamespace = "weir-cluster-test"
	probeImage    = "weir-probe:test"
	patience      = "60s"
)

// TestCycle_UpPodsDown starts the cluster on this machine, does with it what its users do, takes parts of it away, and looks
// whether the machine is afterwards as it was.
func TestCycle_UpPodsDown(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("this test needs root")
	}
	root, err := findRoot()
	if err != nil {
		t.Fatal(err)
	}
	x := &cycle{T: t, c: &cluster{root: root, bin: filepath.Join(root, "bin", "k8s"), state: "/var/lib/weir-localcluster", begin: time.Now()}}
	if _, err := os.Stat(x.c.state); err == nil {
		t.Fatal("there is a cluster, which this test would end: run make cluster-down first")
	}
	x.do("build")
	before := x.machine()
	t.Cleanup(func() { // whatever happened
		if err := run(context.WithoutCancel(t.Context()), []string{"down"}); err != nil {
			t.Error(err)
		}
	})
	x.measure("up", func() { x.do("up") })
	pids := x.pids()
	x.measure("up, when everything runs", func() { x.do("up") })
	if diff := cmp.Diff(pids, x.pids()); diff != "" {
		t.Errorf("the second up has changed what runs: %s", diff)
	}
	x.image()
	x.kubectl("apply", "-f", filepath.Join(root, "hack", "localcluster", "testdata", "pods.yaml"))
	x.kubectl("wait", "--for=create", "--timeout="+patience, "serviceaccount/default", "-n", testNamespace)
	x.kubectl("rollout", "status", "--timeout="+patience, "deployment/echo", "-n", testNamespace)
	t.Run("names and services", x.names)
	t.Run("host", x.host)
	t.Run("exec, logs and port-forward", x.streams)
	t.Run("accounts and rights", x.accounts)
	t.Run("pod security", x.security)
	t.Run("image that can't be pulled", x.pull)
	t.Run("start of pods", x.latency)
	t.Run("garbage", x.garbage)
	t.Run("crash", x.crash)
	x.measure("down", func() { x.do("down") })
	if diff := cmp.Diff(before, x.machine()); diff != "" {
		t.Errorf("the machine is not as it was before: %s", diff)
	}
	x.do("down")
}

// A cluster that never got ready, and one whose folder lost its records, go away, too.
func TestCycle_DownEndsHalfOfACluster(t *testing.T) {
	root, err := findRoot()
	if err != nil {
		t.Fatal(err)
	}
	x := &cycle{T: t, c: &cluster{root: root, bin: filepath.Join(root, "bin", "k8s"), state: "/var/lib/weir-localcluster", begin: time.Now()}}
	before := x.machine()
	ctx, cancel := context.WithCancel(t.Context())
	up := make(chan error, 1)
	go func() { up <- run(ctx, []string{"up"}) }()
	x.until("the API server runs", func() error {
		if _, ok := x.c.remembered("kube-apiserver"); !ok {
			return fmt.Errorf("it doesn't")
		}
		return nil
	})
	cancel()
	if err := <-up; err == nil {
		t.Error("up says that all is well, though it was interrupted")
	}
	if err := os.RemoveAll(x.c.path("run")); err != nil && !strings.Contains(err.Error(), "busy") {
		t.Fatal(err)
	}
	x.do("down")
	if diff := cmp.Diff(before, x.machine()); diff != "" {
		t.Errorf("the machine is not as it was before: %s", diff)
	}
}

// cycle is one run of the test.
type cycle struct {
	*testing.T
	c *cluster
}

func (x *cycle) do(args ...string) {
	x.Helper()
	if err := run(x.Context(), args); err != nil {
		x.Fatal(err)
	}
}

func (x *cycle) measure(what string, f func()) {
	x.Helper()
	begin := time.Now()
	f()
	x.Logf("measured: %s: %.1f s", what, time.Since(begin).Seconds())
}

func (x *cycle) kubectl(args ...string) string {
	x.Helper()
	out, err := x.c.kubectl(x.Context(), args...)
	if err != nil {
		x.Fatal(err)
	}
	return out
}

func (x *cycle) pids() map[string]int {
	out := map[string]int{}
	for _, p := range x.c.components() {
		if s, ok := x.c.running(p.name); ok {
			out[p.name] = s.pid
		}
	}
	return out
}

// until waits until f has no error any more.
func (x *cycle) until(what string, f func() error) {
	x.Helper()
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	for deadline := time.Now().Add(time.Minute); ; {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			x.Fatalf("waiting until %s: %v", what, err)
		}
		<-ticker.C
	}
}

// image builds the probe and brings it to the node.
func (x *cycle) image() {
	x.Helper()
	dir := x.TempDir()
	build := exec.CommandContext(x.Context(), "go", "build", "-trimpath", "-o", dir+"/probe", "./hack/localcluster/testdata/probe")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	pack := exec.CommandContext(x.Context(), "go", "run", "./hack/image", "--output", dir+"/probe.tar", "--tag", probeImage, "--entrypoint", "/probe",
		"--file", dir+"/probe:/probe")
	for _, cmd := range []*exec.Cmd{build, pack} {
		cmd.Dir = x.c.root
		if out, err := cmd.CombinedOutput(); err != nil {
			x.Fatalf("%v: %v\n%s", cmd.Args, err, out)
		}
	}
	x.do("load-image", dir+"/probe.tar")
}

// probe runs a pod to its end and returns what it printed.
func (x *cycle) probe(name string, args ...string) string {
	x.Helper()
	x.kubectl(append([]string{"run", name, "-n", testNamespace, "--image=" + probeImage, "--restart=Never", "--"}, args...)...)
	if _, err := x.c.kubectl(x.Context(), "wait", "--for=jsonpath={.status.phase}=Succeeded", "--timeout="+patience, "pod/"+name, "-n", testNamespace); err != nil {
		logs, _ := x.c.kubectl(x.Context(), "logs", name, "-n", testNamespace)
		x.Fatalf("%v\nits log: %s", err, logs)
	}
	return x.kubectl("logs", name, "-n", testNamespace)
}

func (x *cycle) in(t *testing.T) *cycle { return &cycle{T: t, c: x.c} }

func (x *cycle) names(t *testing.T) {
	for name, host := range map[string]string{"short": "echo", "middle": "echo." + testNamespace, "long": "echo." + testNamespace + ".svc.cluster.local"} {
		if out := x.in(t).probe(name, "get", "http://"+host+"/"); !strings.Contains(out, "hello of echo-") || !strings.Contains(out, "xyzzy") {
			t.Errorf("%s: got %q", host, out)
		}
	}
}

func (x *cycle) host(t *testing.T) {
	x = x.in(t)
	pods := strings.Fields(x.kubectl("get", "pods", "-n", testNamespace, "-l", "app=echo", "-o", "jsonpath={.items[*].status.podIP}"))
	service := x.kubectl("get", "service", "echo", "-n", testNamespace, "-o", "jsonpath={.spec.clusterIP}")
	for _, address := range append(pods, service+":80", nodeIP+":30080") {
		if !strings.Contains(address, ":") {
			address += ":8080"
		}
		if got := x.get("http://" + address + "/"); !strings.Contains(got, "hello of echo-") {
			t.Errorf("%s: got %q", address, got)
		}
	}
}

func (x *cycle) get(url string) string {
	x.Helper()
	ctx, cancel := context.WithTimeout(x.Context(), 10*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		x.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		x.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		x.Fatal(err)
	}
	return string(body)
}

func (x *cycle) streams(t *testing.T) {
	x = x.in(t)
	if out := x.kubectl("exec", "-n", testNamespace, "deployment/echo", "--", "/probe", "get", "http://127.0.0.1:8080/"); !strings.Contains(out, "hello of echo-") {
		t.Errorf("exec: got %q", out)
	}
	if out := x.kubectl("logs", "-n", testNamespace, "deployment/echo"); !strings.Contains(out, "serving") {
		t.Errorf("logs: got %q", out)
	}
	ctx, cancel := context.WithCancel(t.Context())
	forward := exec.CommandContext(ctx, filepath.Join(x.c.bin, "kubectl"), "--kubeconfig", x.c.kubeconfig("admin"), "port-forward", "-n", testNamespace, "service/echo", ":80")
	out, err := forward.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := forward.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cancel(); _ = forward.Wait() })
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	address := regexp.MustCompile(`127\.0\.0\.1:\d+`).FindString(line)
	if got := x.get("http://" + address + "/"); !strings.Contains(got, "hello of echo-") {
		t.Errorf("port-forward: got %q", got)
	}
}

func (x *cycle) accounts(t *testing.T) {
	x = x.in(t)
	if out := x.probe("version", "api", "/version"); !strings.Contains(out, "200 OK") || !strings.Contains(out, "gitVersion") {
		t.Errorf("the API server doesn't answer a pod: %q", out)
	}
	if out := x.probe("forbidden", "api", "/api/v1/namespaces/kube-system/secrets"); !strings.Contains(out, "403 Forbidden") ||
		!strings.Contains(out, "system:serviceaccount:"+testNamespace+":default") {
		t.Errorf("a pod may do what nobody allowed: %q", out)
	}
}

func (x *cycle) security(t *testing.T) {
	out, err := x.c.kubectl(t.Context(), "run", "privileged", "-n", testNamespace, "--image="+probeImage, "--privileged", "--", "serve")
	if err == nil || !strings.Contains(out, "violates PodSecurity") {
		t.Errorf("a privileged pod: got %q, %v", out, err)
	}
}

func (x *cycle) pull(t *testing.T) {
	x = x.in(t)
	x.kubectl("run", "unpullable", "-n", testNamespace, "--image=weir.invalid/none:1", "--restart=Never")
	begin := time.Now()
	x.until("the pod says why", func() error {
		why := x.kubectl("get", "pod", "unpullable", "-n", testNamespace, "-o", "jsonpath={.status.containerStatuses[0].state.waiting.reason}")
		if why != "ErrImagePull" && why != "ImagePullBackOff" {
			return fmt.Errorf("it says %q", why)
		}
		return nil
	})
	t.Logf("measured: until ErrImagePull: %.1f s", time.Since(begin).Seconds())
}

func (x *cycle) latency(t *testing.T) {
	x = x.in(t)
	var took []time.Duration
	for i := range 7 {
		name := fmt.Sprintf("latency-%d", i)
		begin := time.Now()
		x.kubectl("run", name, "-n", testNamespace, "--image="+probeImage, "--restart=Never", "--", "serve")
		x.kubectl("wait", "--for=jsonpath={.status.phase}=Running", "--timeout="+patience, "pod/"+name, "-n", testNamespace)
		took = append(took, time.Since(begin))
	}
	slices.Sort(took)
	t.Logf("measured: kubectl run to Running: median %.2f s, from %.2f to %.2f s", took[3].Seconds(), took[0].Seconds(), took[6].Seconds())
}

// garbage looks that pods go with their owner.
func (x *cycle) garbage(t *testing.T) {
	x = x.in(t)
	x.kubectl("delete", "deployment", "echo", "-n", testNamespace)
	x.kubectl("wait", "--for=delete", "--timeout="+patience, "pod", "-l", "app=echo", "-n", testNamespace)
}

// crash takes parts of the cluster away, which up brings back.
func (x *cycle) crash(t *testing.T) {
	x = x.in(t)
	pids := x.pids()
	for _, name := range []string{"kubelet", "kube-apiserver", "containerd"} {
		if err := syscall.Kill(pids[name], syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
	}
	x.until("they are gone", func() error {
		if left := len(x.pids()); left != len(pids)-3 {
			return fmt.Errorf("%d run", left)
		}
		return nil
	})
	if err := x.c.status(); err == nil {
		t.Error("status says that all is well")
	}
	// One that nothing remembers is found nevertheless.
	if err := os.Remove(x.c.pidFile("kube-proxy")); err != nil {
		t.Fatal(err)
	}
	x.do("up")
	if now := x.pids(); now["kube-proxy"] != pids["kube-proxy"] || len(now) != len(pids) {
		t.Errorf("got %v, before %v", now, pids)
	}
	if out := x.probe("afterwards", "api", "/version"); !strings.Contains(out, "200 OK") {
		t.Errorf("got %q", out)
	}
}

// machine is everything of this machine that a cluster changes.
func (x *cycle) machine() map[string][]string {
	x.Helper()
	out := map[string][]string{}
	links, err := net.Interfaces()
	if err != nil {
		x.Fatal(err)
	}
	for _, l := range links {
		out["interfaces"] = append(out["interfaces"], l.Name)
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		x.Fatal(err)
	}
	out["mounts"] = mountPoints(mounts, "/")
	for _, family := range []string{"iptables-save", "ip6tables-save"} {
		rules, err := command(x.Context(), family)
		if err != nil {
			continue // not installed yet
		}
		for line := range strings.Lines(rules) {
			if strings.Contains(line, "KUBE-") {
				out["rules"] = append(out["rules"], line)
			}
		}
	}
	for _, name := range changedSettings() {
		b, err := os.ReadFile(filepath.Join("/proc/sys", name))
		if err != nil {
			x.Fatal(err)
		}
		out["settings"] = append(out["settings"], name+"="+strings.TrimSpace(string(b)))
	}
	for _, dir := range append(outsideFolders(), x.c.state, x.c.kubeconfig("admin")) {
		files, _ := filepath.Glob(dir + "/*")
		if _, err := os.Stat(dir); err == nil {
			out["files"] = append(append(out["files"], dir), files...)
		}
	}
	groups, _ := filepath.Glob("/sys/fs/cgroup/*/kubepods*")
	out["groups"] = groups
	pids, err := processes()
	if err != nil {
		x.Fatal(err)
	}
	for _, pid := range pids {
		if args := arguments(pid); len(args) > 0 && (x.c.named(args) || strings.Contains(args[0], "containerd-shim") || args[0] == "/pause" || args[0] == "/probe") {
			out["processes"] = append(out["processes"], strings.Join(args, " "))
		}
	}
	return out
}
