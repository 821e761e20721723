PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
# As many processes as there are cores; the tests of a file stay in one.
PYTEST := $(BIN)/python -m pytest -n auto --dist loadgroup

.PHONY: demo test test-deep test-all bench kafka kafka-demo lint clean

demo: .venv/compiled
	$(BIN)/ihomer evaluate --data yeast --learner ihomer,linear --out demo-report

test: .venv/tests lint
	$(PYTEST)

# Torch takes minutes to install, so it is, only where a test is marked as needing it.
test-deep: .venv/tests
	@if $(BIN)/python -m pytest -q -m deep --collect-only >/dev/null 2>&1; \
	then $(PIP) torch && $(BIN)/python -m pytest -m deep; \
	else echo "No test needs torch."; fi

test-all: .venv/tests lint
	$(PYTEST) -m "not deep"
	$(MAKE) test-deep

bench: .venv/tests
	for suite in $$($(BIN)/python -m benchmarks --list --names); do $(BIN)/python -m benchmarks $$suite || exit 1; done

# A broker on loopback until Ctrl-C; the first time its jars are fetched by Maven.
kafka: .venv/tests
	$(BIN)/python -m benchmarks.broker

kafka-demo: .venv/tests
	$(BIN)/python -m benchmarks.broker.demo

lint: .venv/tests
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/engine: setup.cfg constraints.txt | .venv/bin/python
	$(PIP) --editable .
	touch $@

# The engine's loops are compiled when they are first run and kept; here once, so that what follows starts at once.
.venv/compiled: .venv/engine
	$(BIN)/ihomer evaluate --data yeast --learner ihomer,linear --max-events 300 --quiet >/dev/null
	touch $@

.venv/tests: .venv/engine
	$(PIP) --editable '.[test,dev]'
	touch $@

clean:
	rm -rf .venv build dist demo-report *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
