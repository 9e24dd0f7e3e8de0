# Everything in two commands: `make demo` and `make test`. They need Python 3.11 or newer with venv.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
OUT ?= build/nile
TESTS :=
CORE := algebra arguments graph imports kept_code kernels_cpu kernels_portable normalizer reference schedulers softmax

.PHONY: demo test lint lowest benchmark clean

demo: $(VENV)/installed-examples ## A posterior over 10^8 cells from real data, then the command line on it
	rm -rf $(OUT)
	$(BIN)/python examples/nile_changepoint.py $(OUT) --save-log-posterior $(OUT)/log-posterior.zarr
	$(BIN)/dsoftmax softmax $(OUT)/log-posterior.zarr $(OUT)/posterior.zarr

test: $(VENV)/installed-test ## All tests, the examples and doctests included; or some, with TESTS=...
	$(BIN)/python -m pytest $(TESTS)

lint: $(VENV)/installed-test ## Style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

lowest: ## The core with nothing but the required dependencies, at their lowest versions
	$(PYTHON) -m venv $(VENV)-lowest
	$(VENV)-lowest/bin/pip install --quiet --upgrade pip
	$(VENV)-lowest/bin/python tests/lowest.py > $(VENV)-lowest/constraints.txt
	$(VENV)-lowest/bin/pip install --quiet -e ".[test-core]" --constraint $(VENV)-lowest/constraints.txt
	$(VENV)-lowest/bin/python -m pytest $(CORE:%=tests/test_%.py) dsoftmax --ignore dsoftmax/dashboard

benchmark: $(VENV)/installed-bench ## Speed beside other libraries, about ten minutes
	$(BIN)/python -m benchmarks

$(VENV)/installed-%: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet -e ".[$*]"
	touch $@

clean:
	rm -rf $(VENV) $(VENV)-lowest build
