# `make demo` and `make test` set up everything they need; see README.md.

VENV ?= .venv
PYTHON ?= $(shell for p in python3.11 python3.12 python3.10 python3; do \
	$$p -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null && echo $$p && break; done)
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
CORE_VENV ?= .venv-core
CORE_INSTALLED := $(CORE_VENV)/.installed
# What the newest versions are installed with; a build of torch without CUDA is a tenth of the download:
#   make test-core CORE_TORCH=torch==2.13.0+cpu PIP_EXTRA_INDEX_URL=...
CORE_TORCH ?= torch
SOURCES := pyproject.toml constraints.txt overrides.txt CMakeLists.txt $(shell find cpp cuda -type f ! -name "*.py" 2>/dev/null)

# torch's threads spin after each operation otherwise, on cores that the kernels could use.
export OMP_WAIT_POLICY ?= PASSIVE

.PHONY: demo demo-photos demo-network test test-core install lint cuda-check gpu-check speed clean

install: $(INSTALLED)

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "No Python 3.10, 3.11 or 3.12 found. Install one, or pass PYTHON=/path/to/python."; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip

# The pinned versions have releases for Python 3.11 and 3.12; 3.10 takes what its installer finds.
$(INSTALLED): $(BIN)/python $(SOURCES)
	@echo "Installing (a few minutes and about 8 GB the first time) ..."
	$(BIN)/python -m pip install --quiet \
		$$($(BIN)/python -c 'import sys; print("-c constraints.txt" if sys.version_info >= (3, 11) else "")') \
		--editable ".[nerfstudio,dev]"
	$(BIN)/python -m pip install --quiet --no-deps --requirement overrides.txt
	@touch $@

$(CORE_INSTALLED): $(SOURCES)
	@test -n "$(PYTHON)" || { echo "No Python 3.10, 3.11 or 3.12 found. Install one, or pass PYTHON=/path/to/python."; exit 1; }
	@echo "Installing the newest versions, without nerfstudio ..."
	$(PYTHON) -m venv $(CORE_VENV)
	$(CORE_VENV)/bin/python -m pip install --quiet --upgrade pip
	$(CORE_VENV)/bin/python -m pip install --quiet --upgrade --upgrade-strategy eager "$(CORE_TORCH)" --editable ".[dev]"
	@touch $@

demo: $(INSTALLED)
	$(BIN)/python -m benchmarks.demo --out demo

# From nothing but photos; ends with an error below PQ 85.
demo-photos: $(INSTALLED)
	$(BIN)/python -m benchmarks.demo_photos --out demo-photos

# From photos by the network that comes along, without cameras and masks.
demo-network: $(INSTALLED)
	$(BIN)/python -m benchmarks.demo_network --out demo-network

test: $(INSTALLED)
	$(BIN)/python -m pytest

# Everything that needs no nerfstudio, with the newest versions of the rest (torch, NumPy 2, viser 1); tests of the
# plugin are skipped by name.
test-core: $(CORE_INSTALLED)
	@$(CORE_VENV)/bin/python -c 'from importlib.metadata import version as v; \
		print(", ".join(f"{name} {v(name)}" for name in ("torch", "numpy", "viser", "torchmetrics")))'
	$(CORE_VENV)/bin/python -m pytest -rs

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python

cuda-check: $(INSTALLED)
	$(BIN)/python cuda/check_compile.py

# Installs nothing: needs a Python with torch for CUDA and nvcc, but no network.
gpu-check: GPU_PYTHON ?= $(firstword $(wildcard $(BIN)/python) python3)
gpu-check:
	$(GPU_PYTHON) cuda/gpu_check.py

speed: $(INSTALLED)
	$(BIN)/python -m benchmarks.speed --out benchmarks/results/speed.json

clean:
	rm -rf build demo demo-photos demo-network $(VENV) $(CORE_VENV)
