# `make` alone prints the targets. Everything a fresh machine needs beyond python3 >= 3.11 (with venv) and make is
# installed into .venv from the package index, pinned and hashed by requirements.lock.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help setup run down check test fuzz bench golden docs fmt lock

help:  ## Print the targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sort | awk -F':.*## ' '{printf "  %-8s %s\n", $$1, $$2}'

setup: $(VENV)/.ready  ## Make .venv with postroom and supervisorctl in it

$(VENV)/.ready: requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("python 3.11 or newer is needed, this is " + sys.version) if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

run: setup  ## Apply services.yaml, rehearse what runs, print how to send and read a message
	@$(BIN)/python -m orchestrator.demo secrets
	@$(BIN)/postroom apply
	@$(BIN)/postroom rehearse --live
	@$(BIN)/postroom status
	@$(BIN)/python -m orchestrator.demo lines

down:  ## Drain (at most 10 s) and stop everything that `make run` has started
	@test ! -x $(BIN)/postroom || $(BIN)/postroom down --drain 10s

check: setup  ## Format, lint, types, import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: setup  ## The whole test suite, in three processes: most of its time is waiting
	$(BIN)/pytest -n 3

fuzz: setup  ## Throw octets at every parser of what strangers send, 5 s each
	$(BIN)/python -m tests.fuzz

bench: setup  ## How fast, how large: a short round of benchmarks/
	$(BIN)/python -m benchmarks

golden: setup  ## Write the expected parts of tests/golden anew; review reads the diff
	GOLDEN=write $(BIN)/pytest tests/golden

docs: setup  ## Write what docs/ has from the code
	$(BIN)/python -m orchestrator.docs

fmt: setup  ## Format and fix what can be fixed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lock: setup  ## Pin all dependencies anew (needs uv)
	uv pip compile pyproject.toml --extra test --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header -q -o requirements.lock
