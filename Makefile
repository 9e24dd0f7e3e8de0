# `make` lists the commands. They need Python 3.11 or newer with venv, and install the rest.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
OUT ?= build/nile
SITE := build/site
TESTS :=

# What needs no optional dependency, without what takes long.
EVERYWHERE := -m "not emulated and not gpu and not huge and not system"
DOCTESTS := dsoftmax --ignore dsoftmax/dashboard --ignore dsoftmax/dataframe.py \
	--ignore-glob "dsoftmax/_frame*.py" --ignore-glob "dsoftmax/_named*.py" --ignore dsoftmax/xarray.py
# The core is softmax, log_softmax, logsumexp, top-k and their states: all of the algebra and of the
# graph, but of operations and kernels what every other one builds on.
CORE_OPERATIONS := $(patsubst %,tests/operations/test_%.py,arguments complex inputs normalizer operations \
	reference shared_memory softmax statistics topk weights where)
CORE_KERNELS := $(patsubst %,tests/kernels/test_%.py,blocks compile compiler cpu in_memory portable quick \
	runs topk)
CORE := tests/algebra tests/graph $(CORE_KERNELS) $(CORE_OPERATIONS) tests/project $(DOCTESTS) $(EVERYWHERE)
LOWEST := tests/algebra tests/graph $(CORE_OPERATIONS) tests/operations/test_cumulative.py \
	tests/operations/test_grouped.py tests/project/test_imports.py $(DOCTESTS) $(EVERYWHERE)
RELEASE := $(CURDIR)/build/release
RELEASED := $(patsubst %,tests/%.py,algebra/test_algebra graph/test_graph operations/test_scipy \
	operations/test_softmax operations/test_topk project/test_imports)
VERSION = $(shell sed -n 's/^__version__ = "\(.*\)"/\1/p' dsoftmax/__init__.py)
# Files are shared out between two processes, those of the clusters, which take longest, among the
# first; some tests take several gigabytes.
PYTEST := -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder
ONE_SYMBOL := test_every_kernel_is_kept_with_one_global_symbol_and_calls_nothing_but_c

# Bytecode is made and kept when a module is first imported: most of what is installed never is.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo quick test lint docs lowest benchmark release-check release-dry-run clean

help: ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-15s  %s\n", $$1, $$2 }' Makefile

demo: $(VENV)/installed-examples ## A posterior over 10^8 cells from real data, then the command line on it
	rm -rf $(OUT)
	$(BIN)/python examples/nile_changepoint.py $(OUT) --save-log-posterior $(OUT)/log-posterior.zarr
	$(BIN)/dsoftmax softmax $(OUT)/log-posterior.zarr $(OUT)/posterior.zarr

quick: $(VENV)-quick/installed-test-core ## The core and its tests, two to three minutes; or some, with TESTS=...
	$(VENV)-quick/bin/python $(PYTEST) $(or $(TESTS),$(CORE))

test: $(VENV)/installed-test ## All tests, the examples and doctests included; or some, with TESTS=...
	$(BIN)/python $(PYTEST) $(TESTS)

lint: $(VENV)/installed-test ## Style, types and docstrings, with ruff, mypy and numpydoc
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/numpydoc lint dsoftmax/*.py dsoftmax/dashboard/*.py

docs: $(VENV)/installed-docs ## The site, in build/site: examples run, links checked
	$(BIN)/python -m sphinx --fail-on-warning --keep-going --quiet --doctree-dir build/doctrees docs $(SITE)
	$(BIN)/python docs/check_links.py $(SITE)

# Pickling a ufunc of NumPy 2.1 searches all modules, one of which, in mpmath 1.4, then warns.
lowest: ## The core with nothing but the required dependencies, at their lowest versions
	$(PYTHON) -m venv $(VENV)-lowest
	$(VENV)-lowest/bin/pip install --quiet --upgrade pip
	$(VENV)-lowest/bin/python tests/lowest.py > $(VENV)-lowest/constraints.txt
	$(VENV)-lowest/bin/pip install --quiet --no-compile -e ".[test-core]" --constraint $(VENV)-lowest/constraints.txt
	$(VENV)-lowest/bin/python $(PYTEST) $(LOWEST) \
		-W "ignore:the rational private module:DeprecationWarning"
	$(VENV)-lowest/bin/python -m pytest tests/graph/test_schedulers.py \
		tests/kernels/test_kept_code.py::$(ONE_SYMBOL)

benchmark: $(VENV)/installed-bench ## Speed compared with other libraries, about ten minutes
	$(BIN)/python -m benchmarks

# The sdist runs the tests of the project, and the wheel some of the core, with nothing else beside it.
release-check: $(VENV)/installed-release $(VENV)/installed-test-core ## Build sdist and wheel, check both, and test what they install
	rm -rf $(RELEASE)
	$(BIN)/python -m build --outdir $(RELEASE)/dist
	$(BIN)/twine check --strict $(RELEASE)/dist/*
	DISTRIBUTIONS=$(RELEASE)/dist $(BIN)/python -m pytest tests/project/test_release.py
	$(PYTHON) -m venv $(RELEASE)/venv
	$(RELEASE)/venv/bin/pip install --quiet --no-compile "$$(echo $(RELEASE)/dist/*.whl)[test-core]"
	mkdir $(RELEASE)/sdist $(RELEASE)/wheel
	tar xzf $(RELEASE)/dist/*.tar.gz -C $(RELEASE)/sdist --strip-components 1
	cp -r $(RELEASE)/sdist/tests $(RELEASE)/sdist/pyproject.toml $(RELEASE)/wheel
	cd $(RELEASE)/wheel && ../venv/bin/dsoftmax --version
	cd $(RELEASE)/wheel && ../venv/bin/python -c "import dsoftmax, sys; assert sys.prefix in dsoftmax.__file__"
	cd $(RELEASE)/wheel && ../venv/bin/python -m pytest $(RELEASED) $(EVERYWHERE)
	cd $(RELEASE)/sdist && ../venv/bin/python -m pytest tests/project $(EVERYWHERE)

release-dry-run: $(VENV)/installed-release ## All of a release but the tag and the upload: version, changelog, release-check
	@echo "Version $(VERSION); fragments of the changelog since the last one:"
	$(BIN)/towncrier build --draft --version $(VERSION)
	$(MAKE) release-check
	@echo "These would be uploaded:" && ls $(RELEASE)/dist

$(VENV)/installed-%: pyproject.toml
	$(install)

$(VENV)-quick/installed-%: pyproject.toml
	$(install)

define install
$(PYTHON) -m venv $(@D)
$(@D)/bin/pip install --quiet --upgrade pip
$(@D)/bin/pip install --quiet --no-compile -e ".[$*]"
touch $@
endef

clean: ## Remove the virtual environments, build/ and what the site is built of
	rm -rf $(VENV) $(VENV)-quick $(VENV)-lowest build docs/gallery docs/reference/generated
