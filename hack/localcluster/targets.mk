# Targets of the local Kubernetes cluster. Included by the Makefile.

##@ Local cluster

.PHONY: cluster-build
cluster-build: ## Build the parts of the local Kubernetes cluster into bin/k8s (minutes when cold).
	go run ./hack/localcluster build

.PHONY: cluster-up
cluster-up: ## Start the local Kubernetes cluster (root on Linux); the kubeconfig is bin/kubeconfig.
	go run ./hack/localcluster up

.PHONY: cluster-down
cluster-down: ## Remove the local Kubernetes cluster.
	go run ./hack/localcluster down

.PHONY: cluster-status
cluster-status: ## Say what of the local Kubernetes cluster runs.
	go run ./hack/localcluster status

.PHONY: envtest-assets
envtest-assets: ## Build the API server, etcd and kubectl that the tests of the API need.
	go run ./hack/localcluster build envtest

.PHONY: cluster-test
cluster-test: ## Test the local Kubernetes cluster on this machine, which must have none (root on Linux).
	go test -tags cluster -count=1 -timeout 20m -v -run '^TestCycle' ./hack/localcluster
