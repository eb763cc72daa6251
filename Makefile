# Everything that a person or CI does here. `make` alone lists the targets.
#
# On a fresh Debian machine with Python 3.11 and Go, `make test` and `make rehearsal` set up what
# they need by themselves; each step does nothing when its result is there.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# The lock is made for Python 3.11; newer versions are taken where that one is missing.
PYTHON ?= $(firstword $(shell command -v python3.11 python3.12 python3.13 python3))
RUN := .venv/bin/python
PYTEST = $(RUN) -m pytest $(PYTEST_ARGS)
# Booting machines takes root. The cache stays the caller's, or root would build the tools again.
AS_ROOT := $(if $(filter-out 0,$(shell id -u)),sudo --preserve-env env "PATH=$$PATH" "XDG_CACHE_HOME=$${XDG_CACHE_HOME:-$$HOME/.cache}")
COVERAGE := --cov=charts --cov=infra --cov=images --cov=rehearsal --cov=smoke_tests --cov=vace_comfyui --cov=vace_gateway --cov=vace_weights --cov-append --cov-report=
SOURCES := benchmarks charts infra images rehearsal smoke_tests tests

.PHONY: help
help: ## List the targets
	@echo "usage: make TARGET"
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-20s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo "variables: PYTHON=/path/to/python3.11  TARGET=ecs  KEEP=1  VARIANT=cpu  URL=https://host  PYTEST_ARGS='-k name'"

.PHONY: setup
setup: ## Install Debian packages that are missing, and .venv from requirements.lock
	@$(if $(PYTHON),,echo "error: no Python on PATH; install Python 3.11 or newer, or set PYTHON" >&2; exit 1)
	@"$(PYTHON)" rehearsal/toolchain/bootstrap.py

.PHONY: venv
venv:
	@$(if $(PYTHON),,echo "error: no Python on PATH; install Python 3.11 or newer, or set PYTHON" >&2; exit 1)
	@"$(PYTHON)" rehearsal/toolchain/bootstrap.py venv

.PHONY: toolchain
toolchain: venv ## Find, download or build Pulumi and the alicloud provider
	@$(RUN) rehearsal/toolchain/provision.py

.PHONY: toolchain-kubernetes
toolchain-kubernetes: toolchain ## The same for the programs of a cluster, Helm and its provider
	@$(RUN) rehearsal/toolchain/provision.py --kubernetes

.PHONY: rehearsal
rehearsal: setup toolchain $(if $(filter acs,$(TARGET)),toolchain-kubernetes) ## Deploy and use everything on this machine (TARGET=ecs, KEEP=1 to keep it)
	@$(AS_ROOT) $(RUN) -m rehearsal --target $(or $(TARGET),ecs) $(if $(KEEP),--keep)

.PHONY: rehearsal-clean
rehearsal-clean: venv ## Remove what a kept or interrupted rehearsal left
	@$(AS_ROOT) $(RUN) -m rehearsal clean

.PHONY: images
images: setup ## Build and verify all images without the outside world (VARIANT=cpu, cu128 or cu130)
	@$(AS_ROOT) $(RUN) -m rehearsal.images --variant $(or $(VARIANT),cpu)

.PHONY: bench-images
bench-images: setup ## Speed of fetch and conversion, and bytes that an update moves (several GB, minutes)
	@$(RUN) benchmarks/images/fetch.py
	@$(RUN) benchmarks/images/convert.py
	@$(AS_ROOT) $(RUN) benchmarks/images/pull.py

.PHONY: bench-smoke
bench-smoke: venv ## Speed of the content checks on one clip of 81 frames
	@$(RUN) benchmarks/smoke/media.py

.PHONY: conformance
conformance: venv ## Compare a server with what a real ComfyUI answered (URL=https://host; without it, the simulated one)
	$(RUN) -m $(if $(URL),smoke_tests.conformance --url $(URL),rehearsal.comfyui.conformance)

.PHONY: test
test: setup toolchain toolchain-kubernetes ## All tests: unit, then engine, then machine; with coverage
	@mkdir -p reports && $(RUN) -m coverage erase
	$(PYTEST) -m "not engine and not machine" $(COVERAGE)
	$(PYTEST) -m "engine and not machine" $(COVERAGE)
	$(AS_ROOT) $(PYTEST) -m machine $(COVERAGE)
	$(RUN) -m coverage report --skip-covered --sort=cover
	$(RUN) -m coverage xml -q -o reports/coverage.xml

.PHONY: test-unit
test-unit: venv ## The tests that need neither the engine nor a machine
	$(PYTEST) -m "not engine and not machine"

.PHONY: lint
lint: venv ## Formatting, lint rules, types, and whether lock, Containerfiles, workflows and chart are fresh
	$(RUN) -m ruff format --check .
	$(RUN) -m ruff check .
	$(RUN) -m mypy
	$(RUN) -m images check
	$(RUN) -m smoke_tests.workflows check
	$(RUN) -m charts.readme --check

.PHONY: fmt
fmt: venv ## Format the code and fix what can be fixed
	$(RUN) -m ruff format .
	$(RUN) -m ruff check --fix .

# uv resolves for Python 3.11 whatever runs it, so that everyone writes the same locks.
LOCK = uv pip compile --quiet --no-header --generate-hashes --python-version 3.11
.PHONY: lock
lock: ## Write the locks again from their .in files (needs uv; set LOCK_ARGS=--upgrade for new versions)
	@command -v uv > /dev/null || { echo "error: uv is not on PATH; install it with 'pipx install uv'" >&2; exit 1; }
	@for input in $$(git ls-files --cached --others --exclude-standard '*requirements.in'); do \
		echo "$${input%.in}.lock"; \
		$(LOCK) $(LOCK_ARGS) --output-file "$${input%.in}.lock" "$$input"; \
	done

.PHONY: clean
clean: ## Remove caches and reports (not .venv and not the tools)
	rm -rf .mypy_cache .ruff_cache .pytest_cache .coverage reports htmlcov
	find $(SOURCES) -name __pycache__ -type d -prune -exec rm -rf {} +
