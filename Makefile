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
	@echo "make sheets       write the tables of envs/README.md from the classes"
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

# In parts, so that no process has to hold what all tests import.
TORCH_ENVS := $(wildcard tests/envs/test_torch_*.py) tests/envs/test_warp.py
SCENES := $(addprefix tests/envs/test_,arenas.py custom_layouts.py navigation.py \
	navigation_views.py rendering.py)
OWN := $(addprefix tests/envs/test_,domain_randomization.py faults.py own_robots.py own_tasks.py)
BOTH := $(filter-out $(TORCH_ENVS) $(OWN),$(shell grep -l torch tests/envs/test_*.py))
NETWORKS := $(BOTH) tests/buffers tests/networks
LEARNERS := tests/agents tests/baselines tests/collect
VIEWS := tests/pages tests/runs tests/video
ALONE := tests/commands tests/compare tests/imitation
OTHERS := tests/envs tests/buffers tests/networks $(LEARNERS) $(VIEWS) $(ALONE)

test test-all: PYTEST += --limit-memory
test: TIER := -m "not slow"
test test-all: $(READY)
	$(PYTEST) $(TIER) tests/envs $(patsubst %,--ignore=%,$(TORCH_ENVS) $(SCENES) $(OWN) $(BOTH))
	$(PYTEST) $(TIER) $(SCENES)
	$(PYTEST) $(TIER) $(OWN)
	$(PYTEST) $(TIER) $(filter-out %_warp.py,$(TORCH_ENVS))
	$(if $(TIER),,$(PYTEST) tests/envs/test_warp.py)
	$(PYTEST) $(TIER) $(NETWORKS)
	$(PYTEST) $(TIER) $(LEARNERS)
	$(PYTEST) $(TIER) $(VIEWS)
	$(PYTEST) $(TIER) tests/commands
	$(PYTEST) $(TIER) tests/compare
	$(PYTEST) $(TIER) tests/imitation
	$(PYTEST) $(TIER) tests $(OTHERS:%=--ignore=%)

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
