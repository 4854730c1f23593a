# Targets that need a cluster: images, installation, demonstration, end-to-end tests. Included by the Makefile.

# CLUSTER is local (the cluster of hack/localcluster), kind, or current (that of the current context; its nodes must have the
# images already).
CLUSTER ?= local
# E2E chooses scenarios: a regular expression of test names.
E2E ?= .
# E2E_PARALLEL is how many scenarios run at the same time.
E2E_PARALLEL ?= 4

##@ Cluster

.PHONY: image
image: ## Build the container images as archives in dist/, without Docker.
	go run ./hack/e2e images

.PHONY: install
install: ## Install the operator in the cluster (CLUSTER=local|kind|current).
	go run ./hack/e2e install --cluster $(CLUSTER)

.PHONY: demo
demo: ## Run the demonstration on a cluster: S3, operator, word count, an upgrade while it runs, the counts compared.
	go run ./hack/demo --cluster $(CLUSTER)

.PHONY: demo-down
demo-down: ## Remove what the demonstration left, the local cluster included.
	go run ./hack/demo --cluster $(CLUSTER) --down

.PHONY: demo-local
demo-local: ## Run the demonstration of the engine on this machine, without a cluster.
	go run ./hack/demo/local

.PHONY: e2e
e2e: ## Run the end-to-end tests (CLUSTER=local|kind|current, E2E=regular expression).
	go run ./hack/e2e prepare --cluster $(CLUSTER)
	go test -tags e2e -count=1 -timeout 30m -parallel $(E2E_PARALLEL) -artifacts -outputdir $(CURDIR)/dist -v -run '$(E2E)' -skip '^(TestBench|TestChaos)' ./test/e2e -args --cluster $(CLUSTER)

.PHONY: e2e-bench
e2e-bench: ## Measure start, upgrade downtime and the operator's memory on a cluster.
	go run ./hack/e2e prepare --cluster $(CLUSTER)
	go test -tags e2e -count=1 -timeout 60m -artifacts -outputdir $(CURDIR)/dist -v -run '^TestBench' ./test/e2e -args --cluster $(CLUSTER)

# DURATION is how long chaos makes faults, SEED what it chooses them by; 0 for one of its own, which it prints.
DURATION ?= 10m
SEED ?= 0

.PHONY: chaos
chaos: ## Make faults of all kinds against running jobs and judge their output in the end (DURATION=10m, SEED=number).
	go run ./hack/e2e prepare --cluster $(CLUSTER)
	go test -tags e2e -count=1 -timeout 0 -artifacts -outputdir $(CURDIR)/dist -v -run '^TestChaos' ./test/e2e -args --cluster $(CLUSTER) --chaos $(DURATION) --chaos-seed $(SEED)
