# `make demo` and `make test` start from a bare Debian machine; see docs/building.md.
#   PYTHON=...  the Python to make .venv with (default: python3)
#   QUERY=...   what `make demo` searches for
SHELL := /bin/bash
PYTHON ?= python3
export PYTHON

.PHONY: demo test test-cpp test-python versions campaign lint types browser format dev bench connections asan ubsan tsan fuzz dist clean

demo:
	@tools/bootstrap.sh build
	@tools/setup.sh release
	@.venv/bin/vssnative demo $(if $(QUERY),--query "$$QUERY")

demo: export QUERY := $(QUERY)

test: test-cpp test-python

dev:
	@tools/bootstrap.sh build test lint
	@tools/setup.sh dev

test-cpp:
	@tools/bootstrap.sh build test
	@tools/setup.sh dev
	@echo "== C++ tests"
	@.venv/bin/ctest --test-dir build/dev --output-on-failure -j2

test-python: test-cpp
	@echo "== Python tests"
	@.venv/bin/python -m pytest

# Each extra's tests with the oldest and the newest versions that it admits.
versions: dev
	@tools/versions.sh

# The long runs of the reliability tests: 100 kills for each journal mode and kind of table, 500 programs of each state
# machine, every I/O call, every allocation.
campaign: dev
	@VSSNATIVE_CAMPAIGN=1 .venv/bin/ctest --test-dir build/dev -R allocation_faults --output-on-failure --timeout 7200
	@VSSNATIVE_CAMPAIGN=1 VSSNATIVE_KILLS=100 VSSNATIVE_STATE_MACHINE=500 .venv/bin/python -m pytest -s tests/reliability

lint:
	@tools/bootstrap.sh build test lint
	@tools/setup.sh dev
	@tools/lint.sh

# The Datasette pages in Debian's Chromium (700 MB installed, which is why `make test` does without).
browser: dev
	@tools/bootstrap.sh browser
	@.venv/bin/pip install -q --group browser
	@.venv/bin/python -m pytest -q tests/browser

# A user's program under mypy --strict, with nothing but a wheel installed.
types: dev
	@tools/check_types.sh

format: dev
	@.venv/bin/ruff format python tests benchmarks tools
	@.venv/bin/ruff check --fix python tests benchmarks tools
	@git ls-files 'vendor/*.cpp' 'vendor/*.h' 'src/*.cpp' 'src/*.h' 'benchmarks/*.cpp' | xargs clang-format -i

bench: dev
	@tools/setup.sh release
	@.venv/bin/pip install -q --group bench
	@.venv/bin/python -m pytest benchmarks

# 100,000 x 384 through every kind of connection, compared with numpy; the memory that adding takes.
connections: dev
	@tools/setup.sh release
	@.venv/bin/python benchmarks/check_connections.py

asan ubsan tsan: dev
	@tools/sanitize.sh $@

fuzz:
	@tools/bootstrap.sh build test fuzz
	@tools/setup.sh dev
	@tools/fuzz.sh

dist: dev
	@.venv/bin/pip install -q build
	@.venv/bin/python -m build --outdir dist

clean:
	rm -rf build dist .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .benchmarks
	find python tests benchmarks -name __pycache__ -prune -exec rm -rf {} +
