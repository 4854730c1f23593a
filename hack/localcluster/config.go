// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Addresses of the cluster; they are its own and never leave this machine.
const (
	nodeName    = "weir-node"
	nodeBridge  = "weir-node"
	podBridge   = "weir-pods"
	nodeIP      = "10.230.0.1"
	nodeCIDR    = "10.230.0.1/24"
	podCIDR     = "10.230.16.0/20"
	serviceCIDR = "10.230.32.0/20"
	serviceIP   = "10.230.32.1"
	apiURL      = "https://" + nodeIP + ":6443"
	etcdURL     = "http://127.0.0.1:23790"
	etcdPeerURL = "http://127.0.0.1:23800"
)

func (c *cluster) pki(file string) string { return c.path("pki", file) }
func (c *cluster) kubeconfig(name string) string {
	if name == "admin" {
		return filepath.Join(c.root, "bin", "kubeconfig")
	}
	return c.path("config", name+".kubeconfig")
}

func (c *cluster) containerdSocket() string { return c.path("run", "containerd", "containerd.sock") }

// writeConfig writes the configuration files of all components.
func (c *cluster) writeConfig() error {
	files := map[string]string{
		"kubelet.yaml": c.kubeletConfig(), "kube-proxy.yaml": c.proxyConfig(), "containerd.toml": c.containerdConfig(),
		"Corefile": c.corefile(), "cni/10-weir.conflist": c.cniConfig(), "resolv.conf": "",
	}
	for name, text := range files {
		if err := write(c.path("config", name), text, 0o644); err != nil {
			return err
		}
	}
	for _, name := range []string{"admin", "kube-controller-manager", "kube-scheduler", "kube-proxy", "coredns", "kubelet"} {
		text, err := c.kubeconfigText(name)
		if err != nil {
			return err
		}
		if err := write(c.kubeconfig(name), text, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// write writes a file unless it has that content.
func write(file, text string, mode os.FileMode) error {
	if b, err := os.ReadFile(file); err == nil && string(b) == text {
		return nil
	}
	return errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(text), mode))
}

func (c *cluster) kubeconfigText(name string) (string, error) {
	data := map[string]string{}
	for _, f := range []string{"ca.crt", name + ".crt", name + ".key"} {
		b, err := os.ReadFile(c.pki(f))
		if err != nil {
			return "", fmt.Errorf("writing the kubeconfig of %s: %w", name, err)
		}
		data[f] = base64.StdEncoding.EncodeToString(b)
	}
	return fmt.Sprintf(`apiVersion: v1
kind: Config
current-context: weir
clusters:
- name: weir
  cluster: {server: %q, certificate-authority-data: %s}
users:
- name: %s
  user: {client-certificate-data: %s, client-key-data: %s}
contexts:
- name: weir
  context: {cluster: weir, user: %s}
`, apiURL, data["ca.crt"], name, data[name+".crt"], data[name+".key"], name), nil
}

func (c *cluster) kubeletConfig() string {
	return fmt.Sprintf(`apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication:
  anonymous: {enabled: false}
  webhook: {enabled: true}
  x509: {clientCAFile: %q}
authorization: {mode: Webhook}
address: %s
tlsCertFile: %q
tlsPrivateKeyFile: %q
containerRuntimeEndpoint: unix://%s
cgroupDriver: cgroupfs
failCgroupV1: false
failSwapOn: false
enforceNodeAllocatable: []
oomScoreAdj: 0
clusterDomain: cluster.local
clusterDNS: [%s]
resolvConf: %q
volumePluginDir: %q
podLogsDir: %q
evictionHard: {memory.available: 100Mi, nodefs.available: 1%%, nodefs.inodesFree: 1%%, imagefs.available: 1%%}
imageGCHighThresholdPercent: 100
imageGCLowThresholdPercent: 99
maxPods: 500
serializeImagePulls: false
registryPullQPS: 0
eventRecordQPS: 0
kubeAPIQPS: 200
kubeAPIBurst: 400
syncFrequency: 1m
nodeStatusUpdateFrequency: 5s
logging: {flushFrequency: 1s}
`, c.pki("ca.crt"), nodeIP, c.pki("kubelet.crt"), c.pki("kubelet.key"), c.containerdSocket(), nodeIP, c.path("config", "resolv.conf"),
		c.path("kubelet", "plugins"), c.path("pods"))
}

func (c *cluster) proxyConfig() string {
	return fmt.Sprintf(`apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
bindAddress: %s
healthzBindAddress: 127.0.0.1:10256
metricsBindAddress: 127.0.0.1:10249
clientConnection: {kubeconfig: %q, qps: 100, burst: 200}
clusterCIDR: %s
hostnameOverride: %s
mode: iptables
iptables: {syncPeriod: 30s, minSyncPeriod: 100ms}
oomScoreAdj: 0
conntrack: {maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}
`, nodeIP, c.kubeconfig("kube-proxy"), podCIDR, nodeName)
}

func (c *cluster) containerdConfig() string {
	return fmt.Sprintf(`version = 3
root = %q
state = %q
oom_score = 0
disabled_plugins = ["io.containerd.nri.v1.nri", "io.containerd.tracing.processor.v1.otlp"]

[grpc]
  address = %q

[plugins."io.containerd.cri.v1.images"]
  snapshotter = "overlayfs"
  [plugins."io.containerd.cri.v1.images".pinned_images]
    sandbox = %q

[plugins."io.containerd.cri.v1.runtime"]
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.cri.v1.runtime".cni]
    bin_dirs = [%q]
    conf_dir = %q
  [plugins."io.containerd.cri.v1.runtime".containerd]
    default_runtime_name = "runc"
    [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
        SystemdCgroup = false
        Root = %q
`, c.path("containerd"), c.path("run", "containerd"), c.containerdSocket(), pauseImage, filepath.Join(c.bin, "cni"), c.path("config", "cni"), c.path("run", "runc"))
}

func (c *cluster) corefile() string {
	return fmt.Sprintf(`.:53 {
    bind %s
    errors
    health 127.0.0.1:10280
    ready 127.0.0.1:10281
    kubernetes cluster.local in-addr.arpa ip6.arpa {
        kubeconfig %s weir
        pods insecure
        ttl 2
    }
    cache 2 {
        denial 100 1
    }
}
`, nodeIP, c.kubeconfig("coredns"))
}

func (c *cluster) cniConfig() string {
	return fmt.Sprintf(`{
  "cniVersion": "1.0.0",
  "name": "weir",
  "plugins": [
    {
      "type": "bridge", "bridge": %q, "isGateway": true, "ipMasq": false, "hairpinMode": true,
      "ipam": {"type": "host-local", "dataDir": %q, "ranges": [[{"subnet": %q}]], "routes": [{"dst": "0.0.0.0/0"}]}
    },
    {"type": "portmap", "capabilities": {"portMappings": true}}
  ]
}
`, podBridge, c.path("cni"), podCIDR)
}

// components are what runs, in the order in which it is started.
func (c *cluster) components() []component {
	return []component{
		{name: "etcd", args: []string{
			"--name=weir", "--data-dir=" + c.path("etcd"), "--listen-client-urls=" + etcdURL, "--advertise-client-urls=" + etcdURL,
			"--listen-peer-urls=" + etcdPeerURL, "--initial-advertise-peer-urls=" + etcdPeerURL, "--initial-cluster=weir=" + etcdPeerURL,
			"--unsafe-no-fsync", "--log-level=warn",
		}},
		{name: "containerd", args: []string{"--config=" + c.path("config", "containerd.toml")}},
		{name: "kube-apiserver", args: c.apiserverArgs()},
		{name: "kube-controller-manager", args: []string{
			"--kubeconfig=" + c.kubeconfig("kube-controller-manager"), "--authentication-kubeconfig=" + c.kubeconfig("kube-controller-manager"),
			"--authorization-kubeconfig=" + c.kubeconfig("kube-controller-manager"), "--bind-address=127.0.0.1", "--leader-elect=false",
			"--service-account-private-key-file=" + c.pki("sa.key"), "--root-ca-file=" + c.pki("ca.crt"), "--use-service-account-credentials",
			"--kube-api-qps=200", "--kube-api-burst=400", "--node-monitor-period=2s",
		}},
		{name: "kube-scheduler", args: []string{
			"--kubeconfig=" + c.kubeconfig("kube-scheduler"), "--authentication-kubeconfig=" + c.kubeconfig("kube-scheduler"),
			"--authorization-kubeconfig=" + c.kubeconfig("kube-scheduler"), "--bind-address=127.0.0.1", "--leader-elect=false",
			"--kube-api-qps=200", "--kube-api-burst=400",
		}},
		{name: "kubelet", args: []string{
			"--config=" + c.path("config", "kubelet.yaml"), "--kubeconfig=" + c.kubeconfig("kubelet"), "--hostname-override=" + nodeName,
			"--node-ip=" + nodeIP, "--root-dir=" + c.path("kubelet"), "--cert-dir=" + c.path("kubelet", "pki"),
		}},
		{name: "kube-proxy", args: []string{"--config=" + c.path("config", "kube-proxy.yaml")}},
		{name: "coredns", args: []string{"-conf=" + c.path("config", "Corefile")}},
	}
}

func (c *cluster) apiserverArgs() []string {
	return []string{
		"--etcd-servers=" + etcdURL, "--bind-address=" + nodeIP, "--advertise-address=" + nodeIP, "--secure-port=6443",
		"--service-cluster-ip-range=" + serviceCIDR, "--allow-privileged", "--authorization-mode=Node,RBAC",
		"--enable-admission-plugins=NodeRestriction", "--client-ca-file=" + c.pki("ca.crt"),
		"--tls-cert-file=" + c.pki("apiserver.crt"), "--tls-private-key-file=" + c.pki("apiserver.key"),
		"--service-account-key-file=" + c.pki("sa.pub"), "--service-account-signing-key-file=" + c.pki("sa.key"),
		"--service-account-issuer=https://kubernetes.default.svc.cluster.local",
		"--kubelet-certificate-authority=" + c.pki("ca.crt"), "--kubelet-client-certificate=" + c.pki("apiserver-kubelet.crt"),
		"--kubelet-client-key=" + c.pki("apiserver-kubelet.key"),
		"--kubelet-preferred-address-types=" + strings.Join([]string{"InternalIP", "Hostname"}, ","),
	}
}
