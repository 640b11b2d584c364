# Everything a person does with this repository, in one word each. Needs rustup's cargo, python3 (>= 3.9) with pip and venv, and make.
# All that is fetched or built goes to target/; `cargo clean` removes all of it.

PYTHON ?= python3
JOBS ?= 2
CARGO := cargo
RUNTIME := target/onnxruntime/lib/libonnxruntime.so
EXAMPLES := target/examples
SERVER := target/release/punctual
SECONDS_TO_FUZZ ?= 60

export CARGO_BUILD_JOBS := $(JOBS)

.DEFAULT_GOAL := help
.PHONY: help serve test lint test-gpu bench-server bench-overload bench-mixed bench-peers bench-traces bench-client bench-variants bench-coded bench-contention bench-bandit bench-policies bench-policies-full bench-instructions sim fuzz onnxruntime examples examples-families bench-tasks bench-cascade

help: ## Says what can be made (the default).
	@echo "make WORD, where WORD is one of:"
	@sed -n 's/^\([a-z-]*\):.*## /  \1\t/p' $(MAKEFILE_LIST) | expand -t 18

serve: onnxruntime examples ## Serves the example models: fetches the runtime and the models, builds, prints URLs and a curl line. ARGS="--flag .." adds flags.
	$(CARGO) build --release -p server
	$(SERVER) serve --model-repository $(EXAMPLES) $(ARGS)

test: onnxruntime examples ## Sets up what is needed and runs every check and test; the last line says what passed and what was skipped.
	@$(PYTHON) .ci/checks.py

lint: ## Formatting, clippy and rustdoc, warnings as errors.
	@$(PYTHON) .ci/checks.py fmt clippy doc deny

test-gpu: onnxruntime ## Builds the CUDA tests and, where there is a GPU, fetches what they need (2 GB), runs them and prints what they measured.
	@$(PYTHON) gpu/tests/setup.py
	LD_LIBRARY_PATH="$(CURDIR)/target/onnxruntime-gpu/cuda:$$LD_LIBRARY_PATH" $(CARGO) test --release -p gpu --test cuda -- --nocapture --test-threads 1

bench-server: onnxruntime examples ## Measures the server's cost per request against bare echo servers and raw ONNX Runtime. ARGS="--flag .." as for all benches.
	$(CARGO) build --release -p server -p benches
	target/release/server $(ARGS)

bench-overload: onnxruntime examples ## Measures goodput when more is asked than can be done.
	$(CARGO) build --release -p server -p benches
	target/release/overload $(ARGS)

bench-mixed: onnxruntime examples ## Measures how a fast model keeps its objective beside a slow one, and beside one that loads.
	$(CARGO) build --release -p server -p benches
	target/release/mixed $(ARGS)

bench-peers: onnxruntime examples ## Offers the same overload to Punctual and to five other servers from PyPI and draws docs/plots/peers.svg. ARGS=PEER measures one again.
	$(CARGO) build --release -p server -p loadgen
	$(PYTHON) benches/peers/run.py $(ARGS)

bench-client: ## Measures what the load generator itself can do on one core: requests per second, their cost, and how late it sends.
	$(CARGO) build --release -p benches --bin client
	target/release/client $(ARGS)

bench-traces: onnxruntime examples ## Replays an hour of Azure Functions and Twitter's arrivals, measured and simulated, with pages in target/traces; skipped where the recordings are absent. ARGS=--plots=docs/plots redraws those of the documents.
	$(CARGO) build --release -p server -p loadgen -p sim
	$(PYTHON) benches/traces/run.py $(ARGS)

bench-variants: onnxruntime examples ## Measures a task beside each of its variants alone, to three times what the best one carries.
	$(CARGO) build --release -p server -p benches
	target/release/variants $(ARGS)

bench-tasks: ## Holds selection policies against their bars, on published variants and recorded arrivals in virtual time: a minute, no server, no models.
	$(CARGO) build --release -p benches --bin tasks
	target/release/tasks $(ARGS)

bench-coded: ## Holds coded answers against doing nothing and against hedging on as many devices with stragglers, in virtual time: minutes, no server, no models.
	$(CARGO) build --release -p benches --bin coded
	target/release/coded $(ARGS)

bench-contention: onnxruntime examples ## Measures a task while a CPU hog comes and goes on the executor's core.
	$(CARGO) build --release -p server -p benches
	target/release/contention $(ARGS)

bench-bandit: ## Measures what it costs a task to learn from feedback which of its variants is right, in virtual time: no server, no models.
	$(CARGO) build --release -p benches --bin bandit
	target/release/bandit $(ARGS)

bench-cascade: onnxruntime examples ## Fits cascades and an ensemble on half of the held-out digits, and holds them to their bounds on the other half.
	$(CARGO) build --release -p server -p benches
	target/release/cascade $(ARGS)

bench-policies: ## Compares all policies on a sample of the grid in virtual time: minutes, no server, no models. ARGS="--cells N .." or ARGS=--bars for wrong profiles and bounds alone
	$(CARGO) build --release -p benches --bin policies
	target/release/policies $(ARGS)

bench-policies-full: ## Compares all policies on the whole grid and writes tables and plots to docs/policies: hours, kept in target/policies.jsonl, so that a run that was stopped goes on.
	$(CARGO) build --release -p benches --bin policies
	target/release/policies --full --keep target/policies.jsonl --write docs/policies $(ARGS)

bench-instructions: ## Counts the instructions of decisions and of the server's hot paths and fails where one takes 3 % more than its baseline (needs valgrind). ARGS=--write makes the counts the baseline.
	$(CARGO) build --release -p benches --bin instructions
	target/release/instructions $(ARGS)

sim: ## Builds the simulator; target/release/punctual-sim --help says what it can do.
	$(CARGO) build --release -p sim

fuzz: ## Fuzzes every parser for SECONDS_TO_FUZZ seconds each (needs cargo-fuzz and a nightly toolchain).
	@command -v cargo-fuzz >/dev/null || { echo "cargo-fuzz is missing: cargo install cargo-fuzz && rustup toolchain install nightly"; exit 1; }
	cd server/fuzz && for target in $$($(CARGO) +nightly fuzz list); do \
		mkdir -p corpus/$$target seeds/$$target; \
		$(CARGO) +nightly fuzz run -s none $$target corpus/$$target seeds/$$target -- -max_total_time=$(SECONDS_TO_FUZZ) || exit 1; \
	done

onnxruntime: $(RUNTIME) ## Fetches the pinned ONNX Runtime library into target/onnxruntime/lib.

$(RUNTIME): models/examples/fetch_onnxruntime.py models/examples/onnxruntime.lock
	@$(PYTHON) models/examples/fetch_onnxruntime.py $(@D)

examples: ## Makes the example models in target/examples and their real inputs in target/example-inputs.
	@$(PYTHON) models/examples/make.py

examples-families: ## Makes more families of variants, of sentences, text and pictures, in target/families (fetches 300 MB).
	@$(PYTHON) models/examples/make.py families
