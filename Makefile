# Everything that is done with this tree. `make help` lists the targets.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

BIN := $(CURDIR)/bin
TOOLS_MOD := hack/tools/go.mod
SEEDS ?= 200
FUZZTIME ?= 60s

# Everything but the tests with the race detector, which needs cgo, is compiled as container images and the local cluster are: what one target has
# compiled is there for all others.
export CGO_ENABLED := 0
export GOFLAGS := $(strip $(filter-out -trimpath,$(GOFLAGS)) -trimpath)
RACE := CGO_ENABLED=1 go test -race -vet=off -exec 'env CGO_ENABLED=0'

CONTROLLER_GEN := $(BIN)/controller-gen
GOLANGCI_LINT := $(BIN)/golangci-lint
CRD_REF_DOCS := $(BIN)/crd-ref-docs
BENCHSTAT := $(BIN)/benchstat

##@ General

.PHONY: help
help: ## List the targets.
	@awk 'BEGIN {FS = ":.*##"} /^##@/ {printf "\n%s\n", substr($$0, 5)} \
		/^[a-zA-Z_-]+:.*##/ {printf "  %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: clean
clean: ## Remove what the other targets built.
	rm -rf $(BIN) dist

##@ Build

.PHONY: build
build: ## Build the programs into bin/.
	@mkdir -p $(BIN)
	go build -o $(BIN)/ ./cmd/...

.PHONY: generate
generate: $(CONTROLLER_GEN) $(CRD_REF_DOCS) ## Generate deep copies and the API reference.
	$(CONTROLLER_GEN) object:headerFile=hack/boilerplate.go.txt applyconfiguration:headerFile=hack/boilerplate.go.txt paths=./api/v1alpha1
	@mkdir -p docs/reference
	$(CRD_REF_DOCS) --config=hack/crd-ref-docs.yaml --source-path=api --renderer=markdown \
		--output-path=docs/reference/api.md --log-level=ERROR --max-depth=20

.PHONY: manifests
manifests: $(CONTROLLER_GEN) ## Generate the custom resource definitions, the role of the operator, and the Helm chart.
	$(CONTROLLER_GEN) crd:maxDescLen=1024 paths=./api/... output:crd:artifacts:config=config/crd/bases
	$(CONTROLLER_GEN) rbac:roleName=weir-manager,headerFile=hack/boilerplate.yaml.txt paths=./controllers/... output:rbac:artifacts:config=config/rbac
	cd hack/deploy && go run . chart ../..

.PHONY: dist
dist: ## Write dist/install.yaml, all that a cluster needs in one file (make dist IMG=registry/weir:v1).
	cd hack/deploy && go run . install $(if $(IMG),--image $(IMG)) ../.. ../../dist/install.yaml

##@ Check

.PHONY: fmt
fmt: $(GOLANGCI_LINT) ## Format the Go files.
	$(GOLANGCI_LINT) fmt

.PHONY: lint
lint: $(GOLANGCI_LINT) ## Run the linters and the tests that lint the tree.
	$(GOLANGCI_LINT) config verify
	$(GOLANGCI_LINT) run
	go test ./hack/lint/...

.PHONY: test
test: envtest-assets $(BIN)/promtool $(BIN)/prometheus ## Run all tests with the race detector: unit, storage conformance with real servers, processes.
	$(RACE) -timeout 20m ./...
	cd hack/deploy && go test -timeout 20m ./...

.PHONY: test-race
test-race: test ## The same as test: the race detector is always on.

.PHONY: test-envtest
test-envtest: envtest-assets ## Run the tests of API and operator against a real API server.
	$(RACE) -timeout 15m ./test/envtest/...

.PHONY: prometheus-test
prometheus-test: envtest-assets $(BIN)/promtool $(BIN)/prometheus ## Test alert rules and dashboard with promtool and a Prometheus, both built from modules.
	go test -count=1 ./test/prometheus

# Without the clients of clouds, which nothing here needs.
$(BIN)/promtool $(BIN)/prometheus: hack/prometheus/go.mod
	@mkdir -p $(BIN)
	cd hack/prometheus && go build -tags remove_all_sd -o $@ github.com/prometheus/prometheus/cmd/$(@F)
	@touch $@

.PHONY: deploy-test
deploy-test: envtest-assets ## Test the Helm chart with Helm on an API server, dist/install.yaml, and the health scripts of Argo CD.
	cd hack/deploy && go test -count=1 -timeout 20m ./...

.PHONY: test-fast
test-fast: ## Run the short tests without the race detector, for use while editing.
	go test -short ./...

.PHONY: sim
sim: ## Run the simulator over SEEDS seeds (make sim SEEDS=2000).
	go test ./runtime/simtest -v -run '^TestSeeds$$' -count=1 -timeout 60m -seeds=$(SEEDS)

.PHONY: mutations
mutations: ## Show that the simulator finds deliberate mistakes in the protocol: prints which seed catches which, fails if one is not caught.
	go test ./runtime/simtest -v -run '^TestMutations$$' -count=1 -timeout 30m -mutations

.PHONY: fuzz
fuzz: ## Run every fuzz target for FUZZTIME, one after the other (make fuzz FUZZTIME=10m).
	hack/fuzz.sh $(FUZZTIME)

.PHONY: bench
bench: ## Run the benchmarks (half an hour; nothing else should run on the machine).
	go run ./bench

.PHONY: verify
verify: ## Fail when generated files or go.mod are not up to date.
	@before="$$(git status --porcelain -- api config charts docs/reference; git diff -- api config charts docs/reference)"; \
	$(MAKE) --no-print-directory generate manifests; \
	after="$$(git status --porcelain -- api config charts docs/reference; git diff -- api config charts docs/reference)"; \
	if [[ "$$before" != "$$after" ]]; then \
		git --no-pager diff --stat -- api config charts docs/reference; \
		echo "generated files were out of date: commit what 'make generate manifests' wrote" >&2; exit 1; \
	fi
	go mod tidy -diff
	go mod verify

##@ Tools

.PHONY: tools
tools: $(CONTROLLER_GEN) $(GOLANGCI_LINT) $(CRD_REF_DOCS) $(BENCHSTAT) ## Build the tools pinned in hack/tools into bin/.

$(CONTROLLER_GEN): $(TOOLS_MOD)
	cd hack/tools && go build -o $@ sigs.k8s.io/controller-tools/cmd/controller-gen

$(GOLANGCI_LINT): $(TOOLS_MOD)
	cd hack/tools && go build -o $@ github.com/golangci/golangci-lint/v2/cmd/golangci-lint

$(CRD_REF_DOCS): $(TOOLS_MOD)
	cd hack/tools && go build -o $@ github.com/elastic/crd-ref-docs

$(BENCHSTAT): $(TOOLS_MOD)
	cd hack/tools && go build -o $@ golang.org/x/perf/cmd/benchstat

include hack/localcluster/targets.mk
include hack/e2e/targets.mk
