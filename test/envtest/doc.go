// SPDX-License-Identifier: Apache-2.0

// Package envtest tests the API and the operator of Weir against a real Kubernetes API server with its etcd. There is no
// kubelet and no controller of Kubernetes behind them: nothing runs, nothing is scheduled and nothing is collected, so the
// tests play those parts, and a fake engine stands for the coordinators of the jobs.
//
// The binaries come from `make envtest-assets`. One API server serves all tests of the package, each in a namespace of its own.
package envtest
