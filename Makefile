# make demo: train a two-task model on real images in about three minutes, and look at what it learned.
# make test: everything that a change must pass.
# make bench: what tasks cost, in time and memory: many hours, and it goes on where it was stopped; QUICK=1 for two minutes.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# accelerate launch gives one process a single thread, unless this says otherwise.
THREADS ?= $(shell $(PYTHON) -c "import os; print(os.cpu_count())")
LAUNCH := OMP_NUM_THREADS=$(THREADS) $(BIN)/accelerate launch --num_processes 1 --num_machines 1 --mixed_precision no --dynamo_backend no

.PHONY: demo test unit nightly lint lowest conformance bench pages clean

demo: $(VENV)/ready
	$(LAUNCH) examples/finetune.py examples/configs/multi_digits.yaml
	$(BIN)/python examples/predict.py runs/multi_digits

# `make -j2 test` looks at the code while the tests run.
test: lint unit

# Many tests wait for processes, which are killed or time out: three workers keep two cores busy. What all of them import
# is compiled before, once, whatever the user's environment says; what fails there is told by the tests.
WORKERS ?= 3
unit: export PYTHONDONTWRITEBYTECODE =
unit: export OMP_NUM_THREADS = 1
unit: $(VENV)/ready
	$(BIN)/python -m pytest --collect-only > /dev/null || true
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

# Every case of the tests, also those that are left out by day.
nightly:
	TSBN_HUB_NIGHTLY=1 $(MAKE) unit

lint: $(VENV)/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# The lowest versions that pyproject.toml allows, in an environment of their own: a part of the tests from every room.
LOWEST := build/lowest
lowest: $(LOWEST)/ready
	OMP_NUM_THREADS=1 $(LOWEST)/.venv/bin/python -m pytest @tests/lowest.txt

$(LOWEST)/ready: pyproject.toml tests/lowest.py
	$(PYTHON) -m venv --clear $(LOWEST)/.venv
	$(LOWEST)/.venv/bin/python -m pip install --quiet --upgrade pip
	$(PYTHON) tests/lowest.py > $(LOWEST)/constraints.txt
	$(LOWEST)/.venv/bin/python -m pip install --quiet --editable ".[all]" --group dev --constraint $(LOWEST)/constraints.txt
	touch $@

# Every vision architecture of transformers, against docs/backbones.md: a few of them in `make test`.
# timm's own tests on our names: 40 architectures here, 8 in `make test` (two of them with one task, too);
# `make conformance WHICH=all` for all 1327. Batched passes of all that are small enough: twenty minutes of a core.
WHICH ?= many
conformance: $(VENV)/ready
	$(BIN)/python -m tests.conformance.backbones
	$(BIN)/python -m tests.conformance.names
	$(BIN)/python -m tests.conformance $(WHICH)
	$(BIN)/python -m tests.conformance $(WHICH) --tasks 3
	$(BIN)/python -m tests.conformance.execution

# Ratios to plain models of timm, into build/bench; on a CPU with one thread, and on CUDA where there is one.
bench: $(VENV)/ready
	$(BIN)/python benchmarks/bench.py $(if $(QUICK),--quick --output build/bench-quick)

# docs/results.md: its tables and pictures anew from benchmarks/results. `make test` fails where they differ.
pages: $(VENV)/ready
	$(BIN)/python benchmarks/pages.py

$(VENV)/ready: pyproject.toml
	@$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11) and 'tsbn_hub needs Python 3.11 or newer: make PYTHON=python3.12 …')"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --no-compile --editable ".[all]" --group dev
	touch $@

clean:
	rm -rf $(VENV) build runs
