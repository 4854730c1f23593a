// SPDX-License-Identifier: Apache-2.0

// Command localcluster runs a real Kubernetes cluster of one node on this machine: etcd, the API server, controller manager,
// scheduler, kubelet, kube-proxy, containerd and CoreDNS, all built from Go modules. It needs root on Linux, no Docker and no
// registry.
//
//	localcluster build [envtest]   builds what up needs, or only what the API tests need
//	localcluster up                starts it; what runs already stays
//	localcluster load-image FILE…  brings image archives to the node
//	localcluster status            says what runs
//	localcluster down              ends and removes everything, whatever state it is in
//
// Binaries go to bin/k8s, the admin's kubeconfig to bin/kubeconfig, everything else below one folder of its own. Processes are
// remembered by process id and start time, so that none but its own are ever ended; interfaces, mounts and chains carry its
// name.
package main
