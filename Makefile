# Rondo. `make` lists what there is.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:

BINARIES := $(or $(CARGO_TARGET_DIR),target)
VENV := .venv
PYTEST := $(VENV)/bin/python -m pytest
# The clients that are compared, apart from the tests' one: their versions are part of a result.
CLIENTS_VENV := .venv-clients
REQUIREMENTS := tests/python/requirements.txt
# What an ordinary user may have open is often 1,024; the tests open more.
MORE_FILES := ulimit -n $$(ulimit -Hn) 2>/dev/null || true
CARGO_TEST = $(shell cargo nextest --version >/dev/null 2>&1 && echo nextest run || echo test)
# What the clients' own tests are run against: rondo or rabbitmq, unless BROKER_URL says.
BROKER ?= rondo
# Lives that the simulator runs.
SEEDS ?= 100000
# How long each fuzz target runs.
FUZZ_SECONDS ?= 20

.PHONY: help demo run build check test test-rust test-python test-clients bench bench-instructions \
	bench-check bench-floor bench-cross-shard bench-pin bench-measured bench-idle bench-waiting \
	bench-scenarios compare compare-pika fuzz-smoke sim sim-bite clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: build ## a million audited calls through a two-shard broker
	@benches/demo.sh

run: build ## the broker in the foreground, with its defaults
	@exec $(BINARIES)/release/broker

build: ## the release binaries: broker, loadgen
	@benches/require.sh cargo uring
	cargo build --release --locked --workspace --bins

check: ## format, lints with warnings denied, with and without the runtime
	@benches/require.sh cargo
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	cargo clippy -p broker --no-default-features --all-targets --locked -- -D warnings

# The Python tests come last, so that the last line is the test runner's own.
test: ## check, all Rust tests, the fast ones of the clients' own tests, the Python tests
	@benches/require.sh cargo venv uring
	@$(MAKE) --no-print-directory check test-rust
	@$(MAKE) --no-print-directory test-clients BROKER=rondo OPTIONS=--fast
	@$(MAKE) --no-print-directory test-python

test-rust: ## all Rust tests (by cargo-nextest if it is installed, else by cargo test)
	@benches/require.sh cargo uring
	cargo build --workspace --bins --locked
	@cargo nextest --version >/dev/null 2>&1 || \
		echo 'cargo-nextest is not installed: using cargo test, which is slower'
	$(MORE_FILES); cargo $(CARGO_TEST) --workspace --locked
	cargo $(CARGO_TEST) -p broker --no-default-features --locked
	cargo test --workspace --doc --locked

test-python: $(VENV)/.installed ## the tests with pika, in a virtual environment of their own
	@benches/require.sh cargo uring
	cargo build --workspace --bins --locked
	$(MORE_FILES); $(PYTEST) tests/python

$(VENV)/.installed: $(REQUIREMENTS)
	@benches/require.sh venv
	python3 -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -r $(REQUIREMENTS)
	touch $@

# OPTIONS="--only lapin amqplib" runs some, OPTIONS=--fast those that take seconds.
test-clients: ## the own tests of pika, lapin, amqplib, Celery and others (BROKER=rabbitmq: baseline)
	@benches/require.sh cargo venv uring
	cargo build -p broker --bins --locked
	$(MORE_FILES); BROKER=$(BROKER) python3 tests/clients/run.py $(OPTIONS)

bench: ## ns per call of the engine and its parts, in memory -> results/engine/
	@benches/require.sh cargo python
	python3 benches/engine.py

bench-instructions: ## instructions per call, by callgrind -> results/instructions/
	@benches/require.sh cargo python valgrind
	python3 benches/instructions.py

bench-check: ## the same, compared with the committed table: fails if one is worse
	@benches/require.sh cargo python valgrind
	python3 benches/instructions.py --check

bench-floor: build ## broker and bare relay side by side -> results/floor/
	@benches/require.sh python
	python3 benches/side_by_side.py

bench-cross-shard: build ## calls within a shard and across shards -> results/cross-shard/
	@benches/require.sh python
	python3 benches/cross_shard.py

bench-pin: build ## shards on cores of their own or placed by the kernel -> results/pin/
	@benches/require.sh python
	python3 benches/pin.py

bench-measured: build ## the broker's CPU with and without measured calls -> results/measured/
	@benches/require.sh python
	python3 benches/measured.py

bench-scenarios: build ## large replies, many connections, queues per call -> results/scenarios/
	@benches/require.sh python
	python3 benches/scenarios.py

bench-idle: build ## memory of 5,000 idle connections -> results/idle/
	@benches/require.sh python
	python3 benches/idle.py

bench-waiting: build ## memory and time of a million waiting messages -> results/waiting/
	@benches/require.sh python
	python3 benches/waiting.py

# INSTALL=1 installs what it compares with; OPTIONS="--lavinmq-url amqp://…" adds a LavinMQ.
compare: build $(CLIENTS_VENV)/.installed ## Rondo, RabbitMQ, NATS and the floor -> results/compare/
	@benches/require.sh venv
	@python3 benches/peers.py $(if $(INSTALL),--install) RabbitMQ NATS || true
	$(CLIENTS_VENV)/bin/python benches/compare.py $(OPTIONS)

# OPTIONS="--smoke" tries all in half a minute.
compare-pika: build $(CLIENTS_VENV)/.installed ## stock clients on Rondo and RabbitMQ -> results/clients/
	@benches/require.sh cargo venv uring
	@python3 benches/peers.py $(if $(INSTALL),--install) RabbitMQ
	cargo build --release --locked --manifest-path benches/clients/rust/Cargo.toml \
		--target-dir $(BINARIES)/clients
	@if command -v npm >/dev/null; then npm ci --silent --prefix benches/clients/node; \
		else echo 'no npm: amqplib is left out (Debian: apt-get install nodejs npm)' >&2; fi
	$(CLIENTS_VENV)/bin/python benches/compare_clients.py $(OPTIONS)

$(CLIENTS_VENV)/.installed: benches/clients/requirements.txt
	@benches/require.sh venv
	python3 -m venv $(CLIENTS_VENV)
	$(CLIENTS_VENV)/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	touch $@

# OPTIONS="--seed N --trace" shows one of them.
sim: ## 100,000 lives of the whole engine in an invented world (SEEDS=n)
	@benches/require.sh cargo
	cargo build --profile=sim --locked --package=sim
	$(BINARIES)/sim/sim --seeds $(SEEDS) $(OPTIONS)

sim-bite: ## deliberate bugs of the engine, and the seeds it takes to find each -> results/sim/
	@benches/require.sh cargo python
	python3 benches/sim_bite.py

# Sanitizers need flags that a stable compiler takes only with this variable.
fuzz-smoke: ## each fuzz target for a short while (needs cargo-fuzz)
	@benches/require.sh cargo
	@cargo fuzz --version >/dev/null 2>&1 || \
		{ echo 'missing: cargo-fuzz (cargo install cargo-fuzz --locked)' >&2; exit 1; }
	for target in $$(cargo fuzz list); do \
		mkdir -p "fuzz/corpus/$$target" "fuzz/seeds/$$target"; \
		RUSTC_BOOTSTRAP=1 cargo fuzz run "$$target" "fuzz/corpus/$$target" "fuzz/seeds/$$target" -- \
			-max_total_time=$(FUZZ_SECONDS) -max_len=2048 -len_control=0 -rss_limit_mb=1024; \
	done

clean: ## what cargo and the tests have built
	cargo clean
	rm -rf $(VENV) $(CLIENTS_VENV) benches/clients/node/node_modules
	rm -rf .venv-suites tests/clients/node_modules
