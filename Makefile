# What a person types. The work is in hack/ and tests/cluster/; every default is here.

IMAGE_REGISTRY ?= localhost
IMAGE_NAME ?= dynamic-networks-controller
IMAGE_TAG ?= latest
# Unset: docker if its engine answers, else podman.
OCI_BIN ?=
# The cargo profile of the image: release, or demo (a minute instead of many).
PROFILE ?= release

# What the manifests are rendered for. Socket paths as the agent sees them: the node's /run is its /host/run.
NAMESPACE ?= kube-system
CONTAINERD_SOCKET_PATH ?= /host/run/containerd/containerd.sock
CRIO_SOCKET_PATH ?= /host/run/crio/crio.sock
MULTUS_SOCKET_PATH ?= /host/run/multus/multus.sock

# demo: leave the cluster up afterwards.
KEEP ?=

# Those beside the cluster's: of all packages, by name, so that one build serves both.
UNIT_TESTS = $(patsubst %.rs,--test %,$(notdir $(filter-out tests/tests/%,$(wildcard */tests/*.rs agent/*/tests/*.rs) \
	$(patsubst %/main.rs,%.rs,$(wildcard agent/*/tests/*/main.rs)))))

IMAGE := $(IMAGE_REGISTRY)/$(IMAGE_NAME):$(IMAGE_TAG)
export IMAGE OCI_BIN PROFILE NAMESPACE CONTAINERD_SOCKET_PATH CRIO_SOCKET_PATH MULTUS_SOCKET_PATH KEEP

.PHONY: all bench build check clean cluster-down cluster-up demo help img-build manifests test

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

all: build check ## build and check

build: ## all programs, for this machine (target/release)
	cargo build --locked --release -p agent -p webhook -p kubectl-networks

check: ## fast, no cluster: format, clippy with warnings denied, unit tests, documentation in step
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	cargo test --locked --workspace --no-fail-fast --lib --bins $(UNIT_TESTS)
	hack/check-documents.sh

demo: ## from nothing: builds, starts the local cluster, runs the README's story on it, cleans up (KEEP=1: does not)
	hack/demo.sh

test: ## from nothing: every test: unit, contract, on the real local cluster
	hack/test.sh

bench: ## the benchmarks, with floors and peers in the same run: one table, with goals
	hack/bench.sh

cluster-up: ## the local cluster alone; prints the KUBECONFIG line
	tests/cluster/preflight.sh
	tests/cluster/build.sh
	tests/cluster/up.sh

cluster-down: ## takes the local cluster away, whatever is left of it
	tests/cluster/down.sh

img-build: ## one image with both programs (IMAGE_REGISTRY, IMAGE_NAME, IMAGE_TAG, OCI_BIN, PROFILE)
	hack/build-image.sh

manifests: ## renders manifests/*.yaml (IMAGE_*, NAMESPACE, CONTAINERD_SOCKET_PATH, CRIO_SOCKET_PATH, MULTUS_SOCKET_PATH)
	hack/render-manifests.sh

clean: ## removes what was built here (not the cache of the local cluster's components)
	cargo clean
