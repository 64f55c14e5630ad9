# The only entry points. Each target installs what it needs and the machine lacks, and says so first.
# Everything is built and checked in one profile (release), so that a fresh clone compiles the engine, and every macro, once.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
CARGO_TARGET_DIR ?= $(CURDIR)/target
export CARGO_TARGET_DIR

# Rounds and seed of the seeded tests in `make soak`.
SOAK_ROUNDS ?= 20
# Repetitions of each measurement, and a directory with further clients to compare with, for `make bench`.
BENCH_REPS ?= 5
PEERS ?=
# How long a CephFS is changed and read at the same time in each test of `make soak`, in seconds.
COHERENCE_SECONDS ?= 600
# Seconds of fuzzing in `make soak`, shared by all targets.
FUZZ_SECONDS ?= 600

.PHONY: help build host plugins image demo test image-context oracle test-ceph20 check check-format lint fmt bench bench-ceph soak fuzz

help: ## what the targets do
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):[^#]*## /  make \1\t/' | expand -t 20

build: ## target/release/wasmount and target/plugins/*.wasm
	@./tests/tools/install.sh build
	@$(MAKE) --no-print-directory plugins host

plugins:
	@./tests/tools/build-plugins.sh

# All binaries in one go, with the features of the whole workspace: `make test` then reuses every dependency.
host:
	cargo build --release --workspace --bins $(HOST_FLAGS)

image: ## container images localhost/wasmount:VERSION (slim) and :VERSION-full, without a daemon or a registry
	@./tests/tools/install.sh image
	@$(MAKE) --no-print-directory plugins host
	./images/build

demo: ## an embedded S3 server, mounted through s3.wasm from a sample config.json
	@./tests/tools/install.sh demo
	@$(MAKE) --no-print-directory plugins host
	@./tests/demo/run.sh

# Lints and the oracle run while tests wait for clusters. `make check` has the lints alone.
test: ## everything, against a real MinIO and a real Ceph, through real mounts
	@./tests/tools/install.sh test
	@$(MAKE) --no-print-directory check-format plugins
	cargo test --release --workspace --tests --no-run
	@$(MAKE) --no-print-directory image-context
	@./tests/tools/run-tests.py --beside lint --beside oracle

# What the container tests build their images of.
image-context:
	@if [ "$${WASMOUNT_WITHOUT_CONTAINERS:-}" = 1 ]; then echo "left out: WASMOUNT_WITHOUT_CONTAINERS=1"; \
	else ./images/build context; fi

# CRUSH against crushtool and another implementation: a workspace of its own, as that one brings much with it.
oracle:
	@if [ "$${WASMOUNT_WITHOUT_CEPH:-}" = 1 ]; then echo "left out: WASMOUNT_WITHOUT_CEPH=1"; \
	else cd tests/oracle && PROPTEST_RNG_SEED=$${PROPTEST_RNG_SEED:-1} CARGO_TARGET_DIR=$(CARGO_TARGET_DIR)/oracle cargo test; fi

test-ceph20: ## RBD and CephFS again, against Ceph 20 with its new keys, out of a chroot
	@./tests/tools/install.sh test-ceph20
	@$(MAKE) --no-print-directory plugins
	@CEPH_SUITE=sid ./tests/tools/run-tests.py 'tests: rbd' 'tests: cephfs'

check: ## formatting, lints and documentation, warnings as errors
	@./tests/tools/install.sh build
	@$(MAKE) --no-print-directory check-format lint

check-format:
	cargo fmt --all --check
	cargo fmt --manifest-path tests/oracle/Cargo.toml --check

lint:
	cargo clippy --release --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --release --workspace --no-deps

fmt: ## format the code
	cargo fmt --all

bench: ## wasmount beside every peer on PATH or in PEERS=DIR, on one MinIO: a Markdown table
	@./tests/tools/install.sh bench
	@$(MAKE) --no-print-directory plugins host HOST_FLAGS="--config profile.release.package.wasmount-tests.opt-level=3"
	@PATH="$(if $(PEERS),$(abspath $(PEERS)):)$$PATH" BENCH_REPS=$(BENCH_REPS) python3 tests/bench/bench.py

bench-ceph: ## CephFS beside ceph-fuse and RBD images beside rbd-fuse, on one Ceph cluster: a Markdown table
	@./tests/tools/install.sh bench
	@$(MAKE) --no-print-directory plugins host HOST_FLAGS="--config profile.release.package.wasmount-tests.opt-level=3"
	@BENCH_REPS=$(BENCH_REPS) python3 tests/bench/ceph.py

fuzz: ## what Ceph's side or people may send, guided by coverage (FUZZ_SECONDS=600)
	@./tests/tools/install.sh build
	./tests/tools/fuzz.sh $(FUZZ_SECONDS)

soak: ## the seeded tests again and again with new seeds (SOAK_ROUNDS=20), CephFS changed while it is read, and fuzzing
	@./tests/tools/install.sh test
	./tests/tools/fuzz.sh $(FUZZ_SECONDS)
	@$(MAKE) --no-print-directory plugins
	cargo build --release --workspace --bins --tests
	WASMOUNT_SEED=$$(date +%s%N) WASMOUNT_COHERENCE_SECONDS=$(COHERENCE_SECONDS) cargo test --release --workspace --test cephfs_coherence
	@for round in $$(seq $(SOAK_ROUNDS)); do \
	  seed=$$(date +%s%N); echo "round $$round of $(SOAK_ROUNDS), WASMOUNT_SEED=$$seed"; \
	  WASMOUNT_SEED=$$seed WASMOUNT_KILLS=50 cargo test --release --workspace \
	    --test two_thousand_keys --test versions --test cache_faults; \
	  WASMOUNT_SEED=$$seed WASMOUNT_MODEL_CASES=100000 cargo test --release --workspace --test model; \
	  WASMOUNT_SEED=$$seed WASMOUNT_CASES=5000 cargo test --release --workspace --test coherence; \
	  WASMOUNT_SEED=$$seed PROPTEST_RNG_SEED=$$seed cargo test --release --workspace --lib; \
	done
