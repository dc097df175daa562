# The README tells what this is. `make` alone lists what can be made.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.NOTPARALLEL:
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

TARGET := $(abspath $(or $(CARGO_TARGET_DIR),target))
TOOLS := $(TARGET)/tools
RESULTS := $(TARGET)/test-results
JAVA := examples/java-jlink
IMAGE := $(TARGET)/image
MACOS := aarch64-apple-darwin
JDK := $(if $(JAVA_HOME),$(JAVA_HOME)/bin/)

# The benchmark: its programs, what it installs and writes, and the file that is measured.
SPEED := $(TARGET)/speed/release
BENCH := $(TARGET)/bench
HOST := $(shell uname -m)
STATIC := $(TARGET)/dist/bootstrap-$(HOST)
SPEED_OPTIONS := $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(QUICK),--quick) $(if $(NICE),--nice $(NICE))
SPEED_SAID := $(if $(ROUNDS), ROUNDS=$(ROUNDS))$(if $(QUICK), QUICK=1)

# Where the peer tests look for programs. With `make INSTALL=1`, tests/tools.sh may use sudo.
export PEER_TOOLS := $(TOOLS)/bin
export INSTALL

SCRIPTS := .ci/run .ci/dist .ci/cross-rust .ci/image tests/tools.sh fuzz/coverage.sh benches/java-naive/bootstrap tests/fixtures/container.sh tests/fixtures/programs/jq $(wildcard examples/shell/*.sh tests/fixtures/handlers/*.sh tests/fixtures/sandbox/*.sh benches/speed/handlers/*.sh benches/speed/runtimes/*.sh)
say = @echo "==> $(1)"

.PHONY: help
help: ## list what can be made
	@awk -F ':.*## ' '/^[a-z0-9_-]+:.*## / { printf "make %-19s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: build
build: ## build the binary for this machine: target/release/bootstrap
	$(call say,building the binary)
	@cargo build --release --locked

.PHONY: dist
dist: dist-x86_64 dist-aarch64 ## build what is released, in target/dist: static binaries and Lambda layers, with their checksums

.PHONY: dist-x86_64 dist-aarch64
dist-x86_64: ## the same for one architecture
dist-aarch64: ## the same for the other
dist-x86_64 dist-aarch64: dist-%:
	$(call say,building the released files for $*)
	@tests/tools.sh dist-$*
	@CARGO_TARGET_DIR=$(TARGET) .ci/dist $*

.PHONY: image
image: $(IMAGE)/config.json ## build the image of the Dockerfile without Docker, as root, to test it: target/image

# Of the JDK and of Rust it has what is there when it is built.
$(IMAGE)/config.json: Dockerfile .dockerignore .ci/image .ci/dist .ci/no-unwinding.ld Cargo.toml Cargo.lock $(JAVA)/Makefile \
		$(shell find src $(JAVA)/src -type f) | system
	$(call say,building the image of the Dockerfile)
	@CARGO_TARGET_DIR=$(TARGET) .ci/image

.PHONY: examples
examples: system ## build the Java example's image, and the naive runtime that it is compared with
	$(call say,building the Java example's image)
	@$(MAKE) -C $(JAVA) >$(TARGET)/java-image.log 2>&1 || { cat $(TARGET)/java-image.log; exit 1; }
	@$(MAKE) -C benches/java-naive >$(TARGET)/java-naive.log 2>&1 || { cat $(TARGET)/java-naive.log; exit 1; }

.PHONY: test
test: ## run every test; installs what they need where it is missing (system packages as root or with INSTALL=1)
	@rm -rf $(RESULTS)
	@status=0; $(MAKE) --keep-going tools test-rust test-bench test-java test-peers test-image test-fuzz guard || status=$$?; \
	cat $(RESULTS)/* 2>/dev/null | awk '/^test result:/ { passed += $$4; failed += $$6 } /^ok  / { passed++ } /^FAILED  / { failed++ } \
		END { printf "%d passed, %d failed\n", passed, failed }' || true; \
	exit $$status

.PHONY: test-rust
test-rust: system $(RESULTS) ## the unit tests, and the black-box tests against a scripted Runtime API
	$(call say,testing the binary and its parts)
	@status=0; \
	cargo test --locked --no-fail-fast --lib --bins --test it | tee $(RESULTS)/rust || status=$$?; \
	cargo test --locked --doc | tee $(RESULTS)/doc || status=$$?; \
	exit $$status

.PHONY: test-bench
test-bench: $(RESULTS) ## the benchmark's own tests
	$(call say,testing the benchmark)
	@cargo test --locked --manifest-path benches/speed/Cargo.toml --target-dir $(TARGET)/speed | tee $(RESULTS)/bench

.PHONY: test-java
test-java: examples $(RESULTS) ## the Java example's own checks
	$(call say,testing the Java example)
	@$(MAKE) -C $(JAVA) check | tee $(RESULTS)/java

.PHONY: test-peers
test-peers: tools dist examples $(RESULTS) ## the shipped binary under AWS's emulator and cargo-lambda, called by AWS's clients and a browser
	$(call say,testing the shipped binary with real peers)
	@BOOTSTRAP_TEST_BINARY=$(TARGET)/dist/bootstrap-$$(uname -m) BOOTSTRAP_TEST_DIST=$(TARGET)/dist cargo test --locked --test peers -- --skip peers::image:: | tee $(RESULTS)/peers

.PHONY: test-image
test-image: tools examples image $(RESULTS) ## the image of the Dockerfile, run as Lambda and as Docker would; as root
	$(call say,testing the image of the Dockerfile)
	@BOOTSTRAP_TEST_IMAGE=$(IMAGE) cargo test --locked --test peers peers::image:: | tee $(RESULTS)/image

.PHONY: soak
soak: system ## freeze for three minutes, play ten thousand random scripts, then an hour of mixed events in each mode (FREEZE=, SCRIPTS=, SECONDS=, MODEL_SEED=)
	$(call say,freezing everything at each point of an invocation)
	@FREEZE_SECONDS=$(or $(FREEZE),180) cargo test --release --locked --test it frozen:: -- --nocapture
	$(call say,playing random scripts against the model)
	@MODEL_SCRIPTS=$(or $(SCRIPTS),10000) cargo test --release --locked --test it model::what -- --nocapture
	$(call say,running each mode for an hour)
	@SOAK_SECONDS=$(or $(SECONDS),3600) cargo test --release --locked --test it model::long -- --nocapture --test-threads=6

# For how many seconds `make fuzz` runs each target.
FUZZ_SECONDS ?= 60
FUZZ := $(TARGET)/fuzz
CARGO_FUZZ = PATH=$(TOOLS)/bin:$$PATH cargo +nightly fuzz

.PHONY: fuzz
fuzz: fuzz-build ## run each fuzz target for a minute, or for FUZZ_SECONDS (needs a nightly Rust)
	$(call say,fuzzing each target for $(FUZZ_SECONDS) seconds)
	@JSON_TEST_SUITE=$(TOOLS)/bin/json-test-suite python3 fuzz/run.py $(FUZZ_SECONDS) $(FUZZ)

.PHONY: test-fuzz
test-fuzz: fuzz-build $(RESULTS) ## run each fuzz target for ten seconds, from its seeds
	$(call say,fuzzing each target for ten seconds)
	@JSON_TEST_SUITE=$(TOOLS)/bin/json-test-suite python3 fuzz/run.py 10 $(FUZZ) | tee $(RESULTS)/fuzz

.PHONY: fuzz-build
fuzz-build: tools
	$(call say,building the fuzz targets)
	@cargo +nightly --version >/dev/null || { echo "    missing: a nightly Rust, for the sanitizer; with rustup it comes with"; \
		echo "        rustup toolchain install nightly --profile minimal"; exit 1; }
	@$(CARGO_FUZZ) build --target-dir $(FUZZ) 2>$(FUZZ)-build.log || { cat $(FUZZ)-build.log; exit 1; }

# Where llvm-profdata and llvm-cov are, of the LLVM of the nightly Rust; without it, in that toolchain's component llvm-tools.
LLVM_BIN ?=

.PHONY: fuzz-coverage
fuzz-coverage: tools ## tell which code the corpora of earlier runs reach (needs llvm-tools or LLVM_BIN)
	$(call say,running the corpora with coverage)
	@LLVM_BIN=$(LLVM_BIN) JSON_TEST_SUITE=$(TOOLS)/bin/json-test-suite fuzz/coverage.sh "$(CARGO_FUZZ)" $(FUZZ)

# Those that end within minutes in an interpreter, some of which leak text on purpose; no test with processes, sockets or megabytes in it does, or can run there at all.
MIRI_TESTS := handler::process protocol::block protocol::conversation protocol::message protocol::reply \
	protocol::stream::tests::a_chunk protocol::whole trace:: runtime::invocation --skip the_value_of_a_response

.PHONY: miri
miri: ## run the unit tests of what parses, and of the pointers for execve, under Miri (needs miri and rust-src of a nightly Rust)
	$(call say,running unit tests under Miri)
	@cargo +nightly miri --version >/dev/null || { echo "    missing: rustup component add miri rust-src --toolchain nightly"; exit 1; }
	@PROPTEST_CASES=4 MIRIFLAGS="-Zmiri-disable-isolation -Zmiri-ignore-leaks" cargo +nightly miri test --locked --lib --target-dir $(TARGET)/miri -- $(MIRI_TESTS)

.PHONY: bench
bench: bench-tools ## measure the shipped binary beside its peers, in about 15 minutes; ROUNDS=5 by default, QUICK=1 for a tenth
	$(call say,measuring)
	@$(SPEED)/speed bench $(SPEED_OPTIONS) --bootstrap $(STATIC) --dynamic $(TARGET)/release/bootstrap --tools $(BENCH) \
		--json $(BENCH)/speed.json --command "make bench$(SPEED_SAID)"

.PHONY: bench-growth
bench-growth: bench-build ## measure how its work grows with event size, log volume and invocations in flight
	$(call say,measuring)
	@$(SPEED)/speed growth $(SPEED_OPTIONS) --bootstrap $(STATIC) --json $(BENCH)/growth.json --command "make bench-growth$(SPEED_SAID)"

.PHONY: bench-pages
bench-pages: bench-build ## put what `bench` and `bench-growth` measured into docs/speed.md, with plots
	@$(SPEED)/speed pages --bench $(BENCH)/speed.json --growth $(BENCH)/growth.json --docs docs

.PHONY: guard
guard: bench-build $(RESULTS) ## count the instructions of an invocation, and compare them with benches/instructions.json
	$(call say,counting instructions with callgrind)
	@$(SPEED)/speed instructions --bootstrap $(STATIC) --recorded benches/instructions.json | tee $(RESULTS)/guard

.PHONY: record-instructions
record-instructions: bench-build ## record the instructions that `guard` counts
	@$(SPEED)/speed instructions --bootstrap $(STATIC) --recorded benches/instructions.json --record

.PHONY: bench-build
bench-build: system dist-$(HOST)
	$(call say,building the benchmark)
	@cargo build --release --locked --manifest-path benches/speed/Cargo.toml --target-dir $(TARGET)/speed

.PHONY: bench-tools
bench-tools: bench-build build $(BENCH)/venv/installed $(BENCH)/bin/lambda-adapter $(BENCH)/java/bin/java

$(BENCH)/venv/installed: benches/requirements.txt
	$(call say,installing the Python peer)
	@python3 -m venv --clear $(BENCH)/venv
	@$(BENCH)/venv/bin/pip install --quiet --disable-pip-version-check --no-deps --only-binary :all: -r $<
	@touch $@

# With the settings of our own release build, where its own leave a choice.
$(BENCH)/bin/lambda-adapter:
	$(call say,installing the Lambda Web Adapter)
	@CARGO_PROFILE_RELEASE_LTO=fat CARGO_PROFILE_RELEASE_CODEGEN_UNITS=1 CARGO_PROFILE_RELEASE_PANIC=abort CARGO_PROFILE_RELEASE_STRIP=true \
		cargo install --quiet --locked lambda_web_adapter --version 1.0.0-rc1 --root $(BENCH) --target-dir $(TARGET)/speed/web-adapter

# The loop of the example with an echo in it, and an archive of the classes that it needs, as the example has.
$(BENCH)/java/bin/java: $(wildcard benches/speed/java/*.java) $(JAVA)/src/main/java/com/example/lambda/HandlerLoop.java
	$(call say,building the Java handler)
	@rm -rf $(BENCH)/java $(BENCH)/classes && mkdir -p $(BENCH)
	@$(JDK)javac -encoding UTF-8 --release 17 -XDstringConcat=inline -d $(BENCH)/classes $^
	@$(JDK)jlink --module-path $(BENCH)/classes --add-modules bench.echo --no-header-files --no-man-pages --output $(BENCH)/java
	@printf ' {"id":"a","context":{},"event":{}}\n' | BOOTSTRAP_REPLY_FD=3 $@ -XX:+UseSerialGC -Xshare:off \
		-XX:DumpLoadedClassList=$(BENCH)/classes.lst -m bench.echo/bench.Echo 3>&1 >/dev/null | grep -q '"response":{}'
	@$@ -XX:+UseG1GC -Xshare:dump -XX:SharedClassListFile=$(BENCH)/classes.lst -m bench.echo/bench.Echo >$(BENCH)/archive.log

.PHONY: bench-serve
bench-serve: tools build ## measure requests a second through `bootstrap serve`, beside RIE and cargo-lambda (needs wrk)
	@python3 benches/serve.py $(TARGET)/release/bootstrap $(TOOLS)/bin

.PHONY: bench-java
bench-java: system build ## measure the Java example, choice by choice, beside a naive Java runtime
	@python3 benches/java.py $(or $(wildcard $(TARGET)/dist/bootstrap-$(shell uname -m)),$(TARGET)/release/bootstrap) $(TARGET)/bench-java

.PHONY: bench-java-warm
bench-java-warm: bench-build examples $(BENCH)/java/bin/java ## measure the Java example's invocations, from the first to the ten thousandth
	$(call say,measuring)
	@$(SPEED)/speed java $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(NICE),--nice $(NICE)) --bootstrap $(STATIC) --example $(JAVA) \
		--naive benches/java-naive --echo $(BENCH)/java --json $(BENCH)/java-warm.json --command "make bench-java-warm$(if $(ROUNDS), ROUNDS=$(ROUNDS))"

.PHONY: fmt
fmt: ## format the sources
	@cargo fmt
	@cargo fmt --manifest-path benches/speed/Cargo.toml
	@cargo fmt --manifest-path fuzz/Cargo.toml

.PHONY: lint
lint: tools ## check formatting, clippy's advice on Linux and for macOS, shellcheck's, hadolint's, the workflow, and the dependencies' licences and sources
	$(call say,checking the formatting)
	@cargo fmt --check
	@cargo fmt --check --manifest-path benches/speed/Cargo.toml
	@cargo fmt --check --manifest-path fuzz/Cargo.toml
	$(call say,checking with clippy)
	@cargo clippy --locked --all-targets -- -D warnings
	@cargo clippy --locked --all-targets --manifest-path benches/speed/Cargo.toml --target-dir $(TARGET)/speed -- -D warnings
	@cargo clippy --locked --manifest-path fuzz/Cargo.toml --target-dir $(TARGET) -- -D warnings
	$(call say,checking the shell scripts)
	@shellcheck $(SCRIPTS)
	$(call say,checking the Dockerfile)
	@$(TOOLS)/bin/hadolint Dockerfile
	$(call say,checking the workflow)
	@$(TOOLS)/bin/zizmor --offline --quiet --no-progress .github/workflows
	$(call say,checking the dependencies)
	@$(TOOLS)/bin/cargo-deny --log-level error check licenses bans sources
	@$(TOOLS)/bin/cargo-deny --log-level error --manifest-path fuzz/Cargo.toml check licenses sources
	@$(MAKE) check-macos

# Laptops run `invoke` and `serve`. Compiled and linted, not linked or run: that would take a Mac.
.PHONY: check-macos
check-macos: ## compile for macOS as far as that goes without a Mac
	$(call say,checking with clippy for macOS)
	@if rustup target list --installed | grep -qx $(MACOS) || rustup target add $(MACOS); then \
		cargo clippy --locked --lib --bins --target $(MACOS) -- -D warnings; \
	else \
		echo "    NOT CHECKED: this machine can't get Rust's library for $(MACOS)"; \
	fi

.PHONY: system
system: ## look for the system's packages; install missing ones as root or with INSTALL=1
	$(call say,looking for the system packages that are needed)
	@mkdir -p $(TARGET)
	@tests/tools.sh

.PHONY: tools
tools: system $(TOOLS)/installed ## install the peers and tools (pinned Python packages, a crate's files) under target/tools

# RIE has no command of its own: it is a file inside aws-sam-cli.
# JSONTestSuite's files are inside the crate json-syntax, which fuzz/Cargo.lock pins and nothing builds.
$(TOOLS)/installed: tests/requirements.txt fuzz/Cargo.lock
	$(call say,installing the peers of tests/requirements.txt in $(TOOLS))
	@python3 -m venv --clear $(TOOLS)
	@$(TOOLS)/bin/pip install --quiet --disable-pip-version-check --no-deps --only-binary :all: -r $<
	@rie=$$(echo $(TOOLS)/lib/python3*/site-packages/samcli/local/rapid/aws-lambda-rie-$$(uname -m | sed s/aarch64/arm64/)); \
	test -x "$$rie" && ln -s "$$rie" $(TOOLS)/bin/aws-lambda-rie
	@manifest=$$(cargo metadata --locked --format-version 1 --manifest-path fuzz/Cargo.toml | \
		jq -er '.packages[] | select(.name == "json-syntax").manifest_path'); \
	cp -r "$${manifest%/*}/tests/inputs" $(TOOLS)/bin/json-test-suite
	@touch $@

$(RESULTS):
	@mkdir -p $@

.PHONY: clean
clean: ## remove all that was built or installed here
	@$(MAKE) -C $(JAVA) clean
	@$(MAKE) -C benches/java-naive clean
	@rm -rf $(TOOLS) $(RESULTS) $(FUZZ)
	@cargo clean
