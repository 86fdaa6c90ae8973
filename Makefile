# demo, serve, test, lint, bench, clean: see README.md.
# Python packages go into .venv, pinned by constraints.txt; nothing else is changed by `make demo`.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

VENV := .venv
RUN := $(VENV)/bin/python
PIP := $(RUN) -m pip install --quiet --disable-pip-version-check --no-input --constraint constraints.txt
TORCH := $(shell sed -n 's/^\(torch==.*\)$$/\1/p' constraints.txt)
PINS := pyproject.toml constraints.txt
NO_PACKAGES := { echo "make: the packages above could not be installed: check network and disk space, then run make again" >&2; exit 1; }

.PHONY: help demo serve test lint bench soak fuzz clean

help:
	@echo "make demo   show the whole worker on one real film (installs what it needs into $(VENV))"
	@echo "make serve  run the worker with embedded defaults until Ctrl-C"
	@echo "make test   install what the tests need, lint, run every test"
	@echo "make lint   ruff, mypy --strict, import contracts, bandit, pip-audit"
	@echo "make fuzz   hostile films and byte streams, found by coverage (ARGS=-runs=N)"
	@echo "make bench  benchmarks"
	@echo "make soak   every crash point, then thousands of images under random faults (an hour or two)"
	@echo "make clean  remove what make made"

demo: $(VENV)/.run-time
	@$(RUN) -m worker.demo

serve: $(VENV)/.run-time
	@$(RUN) -m worker serve

test: $(VENV)/.test
	@sh .ci/install-servers
	@sh .ci/fetch-ohif
	@$(MAKE) lint
	@CXR_REQUIRE_SERVERS=1 $(RUN) -m pytest $(ARGS)

lint: $(VENV)/.test
	@$(RUN) -m ruff check .
	@$(RUN) -m ruff format --check .
	@$(RUN) -m mypy
	@$(VENV)/bin/lint-imports
	@$(RUN) -m bandit --quiet --configfile pyproject.toml --recursive worker dicom_node models training
	@$(RUN) .ci/audit_packages.py

bench: $(VENV)/.run-time
	@$(RUN) -m worker.bench $(ARGS)

soak: $(VENV)/.test
	@sh .ci/install-servers
	@$(RUN) tests/crash/soak.py --matrix $(ARGS)

# ARGS="-runs=1000000" and libFuzzer's other options; what breaks a promise is kept in data/fuzz
fuzz: $(VENV)/.test
	@mkdir -p data/fuzz/corpus
	@$(RUN) -m tests.fuzz.decode -runs=100000 $(ARGS) data/fuzz/corpus
	@$(RUN) -m tests.fuzz.associate $(ARGS)

clean:
	@rm -rf $(VENV) build dist *.egg-info data/demo
	@rm -rf .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(RUN):
	@sh .ci/create-venv $(VENV)

# torch goes first and alone: a build for the CPU that is at hand already is then kept
$(VENV)/.run-time: $(PINS) | $(RUN)
	@echo "[2/3] installing PyTorch: the largest part, some minutes on a slow line"
	@$(PIP) "$(TORCH)" || $(NO_PACKAGES)
	@echo "[3/3] installing the worker and what it runs on"
	@$(PIP) --editable ".[scorer]" || $(NO_PACKAGES)
	@touch $@

$(VENV)/.test: $(PINS) $(VENV)/.run-time
	@echo "[+] installing what lint and tests need"
	@$(PIP) --editable ".[test]" || $(NO_PACKAGES)
	@touch $@
