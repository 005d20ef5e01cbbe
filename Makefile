# bpfence: `make demo` and `make test` prepare a fresh machine by themselves; `make help` lists the rest.

PYTHON ?= python3
VENV := .venv
STAMP := $(VENV)/.ready
BIN := $(VENV)/bin
PACKAGES := python3-bpfcc python3-venv iproute2 iputils-ping
WORKERS ?= 2

.PHONY: help setup demo test check bench fmt lint type fast clean

help: ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

setup: $(STAMP) mounts ## packages (as root), the virtual environment, the bpf file system

demo: $(STAMP) mounts ## real packets between network namespaces, allowed and dropped by three policy languages
	@$(BIN)/bpfence demo

test: $(STAMP) mounts ## every test; those that need the kernel run where it is
	@$(BIN)/pytest -q -n $(WORKERS) --dist loadfile

check: lint type fast ## format, lint, types, fast tests

bench: $(STAMP) mounts ## the benchmarks, peers beside ours
	@$(BIN)/bpfence bench

fmt: $(STAMP) ## format the code
	@$(BIN)/ruff format compiler tests
	@$(BIN)/ruff check --fix compiler tests

lint: $(STAMP) ## formatting and lint, nothing changed
	@$(BIN)/ruff format --check compiler tests
	@$(BIN)/ruff check compiler tests

type: $(STAMP) ## mypy --strict
	@$(BIN)/mypy

fast: $(STAMP) ## tests without the kernel and without generated cases
	@$(BIN)/pytest -q -n $(WORKERS) --dist loadfile -m "not kernel" --ignore=tests/property

clean: ## remove the virtual environment and caches
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis

# The checkout's programs run from the checkout: the package is installed in editable form.
$(STAMP): pyproject.toml
	@./tools/install-packages $(PACKAGES)
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@$(BIN)/python -m compileall -q compiler/bpfence  # an editable installation leaves that to the first run
	@touch $@

.PHONY: mounts
mounts:
	@if [ "$$(id -u)" = 0 ] && [ -d /sys/fs/bpf ] && ! grep -q ' /sys/fs/bpf bpf ' /proc/mounts; then \
		mount -t bpf bpf /sys/fs/bpf || true; fi
