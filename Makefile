# Two commands for newcomers: make quickstart, make test. Each makes .venv first if it is missing.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
READY := .venv/.ready
PYTEST := $(BIN)/python -m pytest -n 2 --dist worksteal

.PHONY: help setup quickstart test test-all test-pythons faults check format sheets clean

help:
	@echo "make quickstart   train, compare with SB3 and write a video"
	@echo "make test         run the quick tests, some minutes"
	@echo "make test-all     run all tests"
	@echo "make test-pythons test the environments on every other Python that is found"
	@echo "make faults       kill, cut, fill and flood everything some thousand times"
	@echo "make check        run ruff and pyright"
	@echo "make format       let ruff put the code in order"
	@echo "make sheets       write envs/README.md anew from the classes"
	@echo "make clean        delete .venv and caches; runs and videos stay"

setup: $(READY)

$(READY): pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "Installing into .venv (some minutes the first time)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		--constraint constraints.txt --editable '.[dev]'
	@touch $(READY)

quickstart: $(READY)
	$(BIN)/robolearn quickstart

# In two parts, so that no process has to hold what all tests import.
test: $(READY)
	$(PYTEST) -m "not slow" tests/envs
	$(PYTEST) -m "not slow" --ignore=tests/envs

test-all: $(READY)
	$(PYTEST) tests/envs
	$(PYTEST) --ignore=tests/envs

test-pythons:
	.ci/envs-on-other-pythons

faults: $(READY)
	ROBOLEARN_FAULTS=full $(BIN)/python -m pytest -n 2 --dist worksteal --durations 20 tests/faults

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/basedpyright

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

sheets: $(READY)
	$(BIN)/python -m benchmarks.data_sheets

clean:
	rm -rf .venv build dist .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
