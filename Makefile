# What a contributor types. Anything longer than two lines lives in tools/ or xtask/.
.DEFAULT_GOAL := help
.PHONY: help build demo clean-demo test lint fmt deny layers crds bench ci

# The demo and the tests make network namespaces.
AS_ROOT := $(if $(filter 0,$(shell id -u)),,sudo)
RUN_AS_ROOT := $(if $(AS_ROOT),--config "target.'cfg(unix)'.runner='sudo -E'")

help: ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## Every program, into target/debug
	@tools/setup.sh build
	cargo build --workspace --bins

demo: ## A mesh of network namespaces, act by act (KEEP=1 leaves it up)
	@tools/setup.sh build run
	cargo build --workspace --bins
	$(AS_ROOT) target/debug/outrigger demo $(if $(KEEP),--keep)

clean-demo: ## Remove what demos left behind
	$(AS_ROOT) target/debug/outrigger demo --remove

test: ## Every test, also those on real iptables
	@tools/setup.sh build run test
	cargo build --workspace --bins
	cargo test --workspace --no-fail-fast $(RUN_AS_ROOT)

lint: ## Clippy, warnings are errors; the shell scripts too
	cargo clippy --workspace --all-targets -- -D warnings
	$(if $(shell command -v shellcheck),shellcheck tools/*.sh .ci/run)

fmt: ## Format the Rust
	cargo fmt --all

deny: ## Licences, banned crates, sources
	cargo deny check bans licenses sources

layers: ## Which crate may import which
	cargo run -q -p xtask -- layers

crds: ## Write what is generated: CRD YAML, docs/refusals.md, docs/conformance.md
	cargo run -q -p xtask -- crds
	cargo run -q -p xtask -- refusals
	cargo run -q -p xtask -- descriptors
	cargo run -q -p xtask -- rows

bench: ## Outrigger and Envoy against the direct path, into benches/RESULTS.md
	@tools/setup.sh build run bench
	cargo build --release --workspace --bins
	envoy=$$(tools/envoy.sh) && $(AS_ROOT) target/release/outrigger-bench --envoy "$$envoy" $(ARGS)

ci: ## All that has to be green before a push
	bash .ci/run
