# `make catalog` and `make test` need Python 3.11 to 3.13, git and a package index; the lock brings everything else.
PYTHON ?= python3
BIN := .venv/bin
# Tools start each other by this path: `dvc repro` runs `python`.
export PATH := $(CURDIR)/$(BIN):$(PATH)
# The ephemeral Prefect server may be slow to start on a busy machine; the default gives up after 20 s.
export PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS ?= 180

# Telemetry is off unless the user turned it on, as in the wordmint command.
export DO_NOT_TRACK ?= 1
export PREFECT_SERVER_ANALYTICS_ENABLED ?= false
export MLFLOW_DISABLE_TELEMETRY ?= true
export DVC_NO_ANALYTICS ?= 1
export RAY_USAGE_STATS_ENABLED ?= 0

# One core for each test process.
PYTEST := OMP_NUM_THREADS=1 python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile

.PHONY: catalog test test-services test-browser check repro study docs wheel lock help

catalog: .venv/installed  ## build every stale concept and print where the report is
	@wordmint build

test: .venv/tested  ## run the test suite without the tests of test-services and test-browser
	@$(PYTEST) -m "not services and not browser"

test-services: .venv/tested  ## run the tests with Prefect servers and workers of their own, within 10 minutes
	@$(PYTEST) -m services

test-browser: .venv/tested  ## run the tests in a real browser, the Chromium on PATH, within 5 minutes
	@OMP_NUM_THREADS=1 python -m pytest -m browser tests/people tests/flows/ui

check: .venv/tested  ## ruff, types and the tests without the slow ones
	@ruff check . && ruff format --check . && mypy && python -m pytest -m "not slow and not services and not browser"

repro: .venv/installed  ## the same build through `dvc repro`, without Prefect
	@dvc pull --quiet $(wildcard data/images/*.dvc data/imported/*.dvc) && dvc repro

study: .venv/installed  ## compare the methods and decide the paper's claims into docs/study/; QUICK=1: minutes, and no verdicts
	@python -m flows.study $(if $(QUICK),--quick)

docs: .venv/installed  ## write the reference pages docs/settings.md and docs/commands.md anew
	@python -m flows.cli.reference

wheel: .venv/installed  ## build dist/*.whl, which brings the embedded models along
	@$(BIN)/uv build --quiet --wheel --out-dir dist && rm -rf build && ls dist/*.whl

lock:  ## resolve pyproject.toml again into requirements.lock
	@$(BIN)/uv pip compile --quiet --universal --no-emit-index-url --no-header --all-extras pyproject.toml -o requirements.lock

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*##  ?/  make \1\t/' | expand -t 24

.venv/bin/uv:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14) and "wordmint needs Python 3.11 to 3.13, this is " + sys.version)'
	@$(PYTHON) -m venv .venv && $(BIN)/pip install --quiet --disable-pip-version-check uv

# Bytecode is compiled at installation, in parallel: without it every process of a build takes 20 s to import torch and diffusers.
# One lock has the package versions of every extra; as a constraint it pins what each command installs.
INSTALL := $(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --constraint requirements.lock --editable

.venv/installed: .venv/bin/uv requirements.lock pyproject.toml
	@echo "installing the locked packages into .venv" && $(INSTALL) .
	@touch $@

# bitsandbytes lies beside the environment: diffusers imports it wherever it is installed, which takes 4 s of every process of the tests.
.venv/tested: .venv/installed
	@$(INSTALL) '.[test]'
	@$(BIN)/uv pip install --quiet --no-deps --constraint requirements.lock --target .venv/quantized bitsandbytes
	@touch $@
