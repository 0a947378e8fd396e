# Every target sets up what it needs: a virtual environment in .venv, with cannon_fx installed in place.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo test test-all lint types docs bench clean

demo: $(STAMP)
	$(BIN)/cannon optimize

test: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2

test-all: $(STAMP)
	$(BIN)/python -m pytest -m "slow or not slow"

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)
	$(BIN)/mypy

docs: $(STAMP)
	$(BIN)/python docs/reference.py build/reference

bench: $(STAMP)
	$(BIN)/python benchmarks/digits.py
	$(BIN)/python benchmarks/planning.py
	$(BIN)/python benchmarks/cli.py
	$(BIN)/python benchmarks/quantised.py
	$(BIN)/python benchmarks/noc.py
	$(BIN)/python benchmarks/analytic.py
	$(BIN)/python benchmarks/pricing.py
	$(BIN)/python benchmarks/energy.py
	$(BIN)/python benchmarks/placement.py
	$(BIN)/python benchmarks/kernels.py
	$(BIN)/python benchmarks/network_speed.py
	$(BIN)/python benchmarks/backend.py
	$(BIN)/python benchmarks/overhead.py

clean:
	rm -rf $(VENV) build dist *.egg-info

# torch comes first and alone: with it installed, nothing below asks for another build of it.
$(STAMP): setup.py
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip "setuptools>=77" wheel
	$(BIN)/python -m pip install --quiet "torch>=2.11,<2.14"
	$(BIN)/python -m pip install --quiet --editable ".[dev]"
	touch $@
