# Every command of the project. `make` alone lists them.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

export CARGO_TERM_COLOR ?= auto

CONNECTORS := $(notdir $(wildcard connectors/*))
IMAGES := $(CONNECTORS:%=%-connector) kafka-connector-msk
SCRIPTS := .ci/run $(wildcard demo/*.sh deploy/*.sh deploy/*/*.sh tests/*.sh tests/*/*.sh tests/bench/peers/*.sh)

# Development builds link the system's OpenSSL where its headers are installed: building our own takes two minutes.
# Releases always build it, or the binary would need the library of the machine it was built on.
SYSTEM_OPENSSL := $(shell pkg-config --exists openssl 2>/dev/null && echo 1)
DEV := env $(if $(SYSTEM_OPENSSL),OPENSSL_NO_VENDOR=1)

DENY_VERSION := 0.20.2
DENY := var/tools/cargo-deny-$(DENY_VERSION)/bin/cargo-deny

.PHONY: help
help: ## List the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-18s %s\n", $$1, $$2 }' Makefile

.PHONY: need
need:
	@command -v cargo >/dev/null || { echo "cargo is missing: install Rust 1.90 or newer" >&2; exit 1; }
	@tests/need.sh cc=build-essential perl=perl pkg-config=pkg-config

.PHONY: build
build: need ## Build everything for development
	$(DEV) cargo build --locked --workspace --all-targets

.PHONY: release
release: need ## Build the connectors as they are shipped, one by one, into target/release
	@for connector in $(CONNECTORS); do \
	  echo "cargo build --locked --release -p $$connector-connector"; \
	  env -u OPENSSL_NO_VENDOR cargo build --locked --release -p $$connector-connector; \
	done

.PHONY: released-nats
released-nats: need
	env -u OPENSSL_NO_VENDOR cargo build --locked --release -p nats-connector

.PHONY: images
images: need ## Build the container images of all connectors, for this machine's architecture
	deploy/images.sh build $(IMAGES)

.PHONY: quickstart-images
quickstart-images: need ## Build the images that deploy/compose/quickstart.yaml needs beside its broker's
	deploy/images.sh build dev-gateway kafka-connector

.PHONY: images-tar
images-tar: images ## Write the images to files, for hosts without a registry
	deploy/images.sh save $(IMAGES)

.PHONY: image-check
image-check: images ## Run the images as they are meant to be run, on real brokers, and measure them
	@$(DEV) tests/run.sh --package integration --test image -- --ignored --nocapture

.PHONY: check
check: need $(DENY) ## Check format, lints, dependencies, scripts, and that generated files are current
	cargo fmt --all --check
	$(DEV) cargo clippy --locked --workspace --all-targets -- -D warnings
	$(DEV) cargo clippy --locked -p kafka-connector --no-default-features --features fail-points -- -D warnings
	$(DENY) --all-features --locked check --hide-inclusion-graph bans licenses sources
	@# Not linted: the hundred crates it brings are built only for who wants to see the demonstration.
	cargo fmt --manifest-path demo/broker/Cargo.toml --check
	$(DENY) --manifest-path demo/broker/Cargo.toml --locked check --hide-inclusion-graph bans licenses sources
	@for script in $(SCRIPTS); do bash -n $$script; done
	@if command -v shellcheck >/dev/null; then shellcheck -x $(SCRIPTS); else echo "shellcheck is not installed: skipped"; fi
	@tests/helm.sh >/dev/null
	@tests/need.sh promtool=prometheus
	promtool check rules deploy/monitoring/alerts.yaml
	promtool test rules deploy/monitoring/alerts-test.yaml
	@mkdir -p var
	$(DEV) cargo test --locked --workspace golden >var/golden.log 2>&1 || { \
	  cat var/golden.log; echo "if a generated file is out of date run: make bless, and look at what changed"; exit 1; }

.PHONY: test
test: need ## Run every test; fetches, starts and stops the brokers it needs
	@$(DEV) tests/run.sh

.PHONY: test-unit
test-unit: need ## Run the tests that need no broker
	$(DEV) cargo test --locked --workspace --lib --bins

.PHONY: prove
prove: need ## Prove at full size that nothing is lost: kills, outages, a second replica, failing functions and brokers (about twenty minutes)
	@$(DEV) TEST_RELEASED_BINARIES=1 RUST_TEST_THREADS=1 tests/run.sh --package integration --test prove -- --ignored --nocapture --skip leaders_change

.PHONY: prove-leaders
prove-leaders: need prove-leaders-$(or $(SOURCE),kafka) ## Prove it on a cluster of three whose leaders change CHANGES=50 times: SOURCE=kafka|jetstream (half an hour; JetStream, which also takes SEED=1, ten minutes)

.PHONY: prove-leaders-kafka
prove-leaders-kafka:
	@$(DEV) TEST_RELEASED_BINARIES=1 CHANGES="$(CHANGES)" tests/run.sh --package integration --test prove leaders_change -- --ignored --nocapture

.PHONY: prove-leaders-jetstream
prove-leaders-jetstream: released-nats
	@$(DEV) TEST_RELEASED_BINARIES=1 CHANGES="$(CHANGES)" SEED="$(SEED)" cargo test --locked -p nats-connector --test nats leaders_change -- --ignored --nocapture

.PHONY: prove-model
prove-model: need ## Run what delivers through every order of events, one step deeper, and 20,000 random ones in each world (about fifteen minutes)
	@$(DEV) MODEL_DEEPER=1 MODEL_RUNS=20000 cargo test --locked -p model --test leased -- --nocapture
	@$(DEV) MODEL_DEEPER=1 MODEL_RUNS=20000 cargo test --locked -p kafka-connector --lib model:: -- --nocapture

.PHONY: fuzz
fuzz: need ## Look for inputs that break what reads them: SECONDS=60 for each kind (or those of TARGETS="schedules flags")
	@$(DEV) tests/fuzz/run.sh "$(or $(SECONDS),60)" $(TARGETS)

.PHONY: controls
controls: need ## Put known bugs of other connectors into ours, one by one, and have the model find them (about fifteen minutes)
	@$(DEV) tests/model/controls.sh

.PHONY: prove-sqs
prove-sqs: need ## The same for SQS, standard and FIFO (about ten minutes)
	@$(DEV) tests/run.sh --package sqs-connector --test it -- --ignored --nocapture --test-threads 1

.PHONY: prove-nats
prove-nats: need released-nats ## The same for NATS: JetStream under every fault, replicas of both kinds, losses of core NATS (about five minutes)
	@$(DEV) TEST_RELEASED_BINARIES=1 cargo test --locked -p nats-connector --test nats -- --ignored --nocapture --test-threads 1 full_size

.PHONY: prove-edge
prove-edge: need ## Prove it of MQTT on two brokers, and that connectors wait for what comes late (about twenty-five minutes)
	@$(DEV) tests/run.sh --package mqtt-connector --test mqtt chaos -- --ignored --nocapture --test-threads 1
	@$(DEV) tests/run.sh --package integration --test it late -- --ignored

.PHONY: prove-cron
prove-cron: need ## Prove that no tick of cron is called twice and none goes uncounted: one process killed KILLS=200 times, everything around it broken ROUNDS=50 times (SEED=1; FAULTS="clock,SIGSTOP" only those), then the same of replicas (about half an hour)
	@tests/need.sh faketime=faketime
	@$(DEV) KILLS="$(or $(KILLS),200)" ROUNDS="$(or $(ROUNDS),50)" SEED="$(SEED)" FAULTS="$(FAULTS)" cargo test --locked -p integration --test cron -- --nocapture
	@$(DEV) KILLS="$(or $(KILLS),200)" ROUNDS="$(or $(ROUNDS),50)" SEED="$(SEED)" cargo test --locked -p integration --test it kubernetes::faults -- --nocapture

.PHONY: prove-kubernetes
prove-kubernetes: need ## Ask a real API server of Kubernetes: the Lease of cron replicas, and all charts (five minutes; the first time it is compiled, which takes a quarter of an hour and Go 1.24)
	@tests/brokers/kubernetes.sh fetch
	@tests/helm.sh >/dev/null
	@$(DEV) cargo test --locked -p integration --test it kubernetes -- --ignored --nocapture --test-threads 1

.PHONY: prove-monitoring
prove-monitoring: need ## Prove that every alert fires in its fault and every panel shows it, on a real Prometheus (about five minutes); SOURCE=kafka: only that kind of connector
	@$(DEV) tests/run.sh --package integration --test monitoring -- --ignored --nocapture

.PHONY: soak
soak: need ## Break everything around a connector for as long as asked: SOURCE=kafka|sqs|sqs-fifo|jetstream|nats|mqtt SECONDS=600 (or EVENTS=1000000, or ROUNDS=50) SEED=1; DEAD_LETTERS=1 has functions refuse some events (all but nats), OVERLOAD=1 sends too many
	@tests/need.sh faketime=faketime
	@$(DEV) cargo run --locked --quiet --package soak -- "$(or $(SOURCE),kafka)" \
	  --seconds "$(or $(SECONDS),$(if $(EVENTS)$(ROUNDS),,600))" --events "$(EVENTS)" --warm-up "$(WARM_UP)" --rounds "$(ROUNDS)" --pause "$(PAUSE)" \
	  --faults "$(FAULTS)" --without "$(WITHOUT)" --seed "$(SEED)" --overload "$(OVERLOAD)" --dead-letters "$(DEAD_LETTERS)" \
	  --record "$(if $(RECORD),docs/soak.md)" --mark "$(filter-out 1,$(RECORD))"

.PHONY: crash-matrix
crash-matrix: need ## Kill each connector at each step of an event's life; writes the table of docs/delivery.md (SOURCE="core NATS" for its lines alone; about a quarter of an hour)
	@$(DEV) cargo test --locked --quiet -p connector-core --features fail-points --lib fail_point
	@$(DEV) CRASH_SOURCE="$(SOURCE)" tests/run.sh --package integration --test crash -- --ignored --nocapture

.PHONY: demo
demo: need ## Watch functions called by sensors and on schedules; nothing to install (DEMO_SECONDS=20 ends it, DEMO_FAULT=1 fails it)
	@$(DEV) demo/run.sh

.PHONY: demo-kafka
demo-kafka: need ## Watch records of a real Kafka topic call a Python function
	@$(DEV) demo/kafka.sh

.PHONY: dev
dev: need ## Run a gateway, brokers and connectors to develop with, until Ctrl-C (WITH="kafka mqtt" says which connectors)
	@$(DEV) demo/dev.sh $(WITH)

.PHONY: charts
charts: ## Pack the Helm charts, each with its library, into var/charts
	@mkdir -p var/charts
	@helm=$$(tests/helm.sh | sed -n 's/^HELM=//p'); \
	for connector in $(CONNECTORS); do \
	  "$$helm" package "deploy/helm/$$connector-connector" --destination var/charts 2>/dev/null; \
	done

.PHONY: bless
bless: need ## Write the generated files anew: docs/configuration.md and the other goldens
	@# The charts are written from docs/configuration.md, so that comes first.
	BLESS=1 $(DEV) cargo test --locked -p integration golden
	BLESS=1 $(DEV) cargo test --locked --workspace golden

.PHONY: bench
bench: need ## Measure what an event costs beside a bare HTTP client, latency, memory, start, and how each grows; writes docs/performance.md (about forty minutes; tests/bench/run.sh mqtt: one source, written nowhere)
	@tests/bench/run.sh --record docs/performance.md

.PHONY: clean
clean: ## Stop our brokers; remove what was built, fetched and written
	@for script in $(filter-out %/broker.sh,$(wildcard tests/brokers/*.sh)); do $$script down --all; done
	cargo clean
	rm -rf var

# Without its default features, which fetch advisories, and without optimisation it builds in a minute.
$(DENY):
	@tests/need.sh cc=build-essential
	cargo install --locked --quiet --debug --no-default-features --root $(patsubst %/bin/cargo-deny,%,$@) cargo-deny@$(DENY_VERSION)
