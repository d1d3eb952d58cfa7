# Everything runs in .venv, which `make` builds on first use.
#   make demo    render examples/first.yaml with the embedded model and say where the film is
#   make test    the tests;  make test-slow  the long ones as well
#   make check   formatting, lint, types
#   make bench   benchmarks, one JSON line each

PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test test-slow check bench clean

demo: .venv/ready
	$(BIN)/lcm-video render examples/first.yaml --overwrite --sheet

test: .venv/ready
	$(BIN)/python -m pytest -q -n 2

# Shapes are not checked here: that would make fuzzing tenfold slower.
test-slow: .venv/ready
	$(BIN)/python -m pytest -q -n 2 -m slow -o addopts=--import-mode=importlib

check: .venv/ready
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright

bench: .venv/ready
	$(BIN)/python bench/compare.py
	$(BIN)/python bench/start.py
	$(BIN)/python bench/long.py
	$(BIN)/python bench/travel.py
	$(BIN)/python bench/early.py
	$(BIN)/python bench/gif.py --frames 16
	$(BIN)/python bench/arithmetic.py

clean:
	rm -rf .venv out

.venv/ready: pyproject.toml constraints.txt hatch_build.py $(wildcard lcm_video/models/fast/compiled/*.cpp lcm_video/models/fast/compiled/*.h)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "lcm-video needs Python 3.11 or newer: make PYTHON=python3.12 ..."; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet -c constraints.txt -e '.[dev]'
	@touch $@
