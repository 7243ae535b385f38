# Every verb this project knows; `make` alone lists them.

VENV   := .venv
BIN    := $(VENV)/bin
# Any Python from 3.11 to 3.13; to choose one yourself: make env PYTHON=/path/to/python3.12
PYTHON ?=
PIP    := $(BIN)/python -m pip --disable-pip-version-check install
LOCK   := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --fork-strategy fewest \
          --generate-hashes --only-binary :all: --no-binary pyspark --no-header --no-emit-index-url --no-emit-find-links

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help env env-cluster env-dev run check test bench bench-cluster docs lock clean

help: ## list these verbs
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# -- the environment ---
# A stamp in .venv remembers what was installed, so that a second `make run` starts at once.

$(VENV)/.made:
	@PYTHON='$(PYTHON)' bash scripts/make_venv.sh $(VENV)
	@touch $@

$(VENV)/.base: requirements/base.txt | $(VENV)/.made
	$(PIP) --require-hashes -r requirements/base.txt
	@touch $@

# What comes as source (pyspark alone) is built with the setuptools that is pinned and installed, not a fetched one.
$(VENV)/.cluster: requirements/cluster.txt requirements/base.txt | $(VENV)/.base
	$(PIP) --no-build-isolation --require-hashes -r requirements/cluster.txt
	@touch $@

# The development pins contain all the others, so all stamps are true afterwards.
$(VENV)/.dev: requirements/dev.txt requirements/cluster.txt requirements/base.txt | $(VENV)/.base
	$(PIP) --no-build-isolation --require-hashes -r requirements/dev.txt
	@touch $(VENV)/.cluster $@

$(VENV)/.trunkline: pyproject.toml requirements/base.in | $(VENV)/.base
	@$(PIP) --quiet --no-deps --no-build-isolation --editable .
	@touch $@

env: $(VENV)/.base $(VENV)/.trunkline ## make .venv with what a running trunkline needs

env-cluster: $(VENV)/.cluster $(VENV)/.trunkline ## the same, and the clients of Kafka, Spark and Cassandra

env-dev: $(VENV)/.dev $(VENV)/.trunkline ## the same, and what developing and testing need

lock: env-dev ## pin requirements/*.in again, with hashes, for Python 3.11 to 3.13
	$(LOCK) --upgrade -o requirements/base.txt requirements/base.in requirements/build.in
	$(LOCK) --upgrade -o requirements/cluster.txt -c requirements/base.txt requirements/cluster.in
	$(LOCK) --upgrade -o requirements/dev.txt requirements/dev.in

# -- the platform ---

run: env ## start the platform on this machine, with the demonstration operator's day streaming in
	@exec $(BIN)/trunkline run --demo

# -- is it good? ---

check: env-dev ## format, lint, types, imports, docs and habits; changes nothing
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/python -m pytest -q tests/test_tidy.py tests/test_docs.py

test: env-dev ## install what the tests need, then check, then every test
	@bash scripts/system_packages.sh
	@$(MAKE) --no-print-directory check
	bash scripts/run_tests.sh $(BIN)/python

bench: env-dev ## measure; one JSON line a figure
	@$(BIN)/python -m bench

bench-cluster: env-dev ## measure the cluster's engines, with their servers on this machine
	@$(BIN)/python -m bench.cluster

docs: env-dev ## write docs/reference again from the code
	$(BIN)/python -m scripts.reference

clean: ## remove the environment and everything that can be made again
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis .schemathesis src/*.egg-info
	find src tests bench scripts -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
