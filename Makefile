# The verbs of developing. Each does its own set-up in .venv: only Python, git and make are needed.
#   make test ARGS="tests/guards -k imports"      make PYTHON=python3.13 test

PYTHON ?= python3
ARGS ?=
WHAT ?= pack read feed
BIN := .venv/bin

.PHONY: help demo test lint types docs bench check
.NOTPARALLEL:

help:  ## say what there is
	@sed -n 's/^\([a-z]*\):.*## /\1	/p' $(MAKEFILE_LIST)

demo: .venv/ready  ## pack pictures, kill the packer midway, resume, slice, read, feed
	$(BIN)/python examples/demo.py $(ARGS)

test: .venv/ready-test  ## run the tests and the doctests
	$(BIN)/python -m pytest $(ARGS)

lint: .venv/ready-lint  ## check style and format (to mend: .venv/bin/ruff format)
	$(BIN)/ruff check $(ARGS)
	$(BIN)/ruff format --check

types: .venv/ready-types  ## check types
	$(BIN)/mypy $(ARGS)

docs: .venv/ready-docs  ## build the docs into site/, dead links are errors
	$(BIN)/zensical build --clean --strict $(ARGS)

bench: .venv/ready-bench  ## measure packing, reading and feeding beside other ways (WHAT=read for one of them)
	for what in $(WHAT); do $(BIN)/python benchmarks/$$what.py $(ARGS) || exit 1; done

check: lint types test docs  ## all that CI checks

# pip reads dependency groups since 25.1; Python 3.11 to 3.13 bring an older one.
.venv/ready: pyproject.toml hatch_build.py $(wildcard src/celeiro/*/kernels/*.[ch])
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo \
	  "celeiro needs Python 3.11 or newer, '$(PYTHON)' is not. Try: make PYTHON=python3.11" >&2; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --editable .
	@touch $@

# PyTorch's own index has builds without CUDA; where it cannot be reached, pip takes what it finds.
# torchvision may then be one for CUDA, whose operators are missing: its transforms need none.
.venv/ready-test: .venv/ready
	$(BIN)/python -m pip install --quiet --retries 1 --group test \
	  --extra-index-url https://download.pytorch.org/whl/cpu
	$(BIN)/python -m pip install --quiet --retries 1 --no-deps torchvision==0.28.0 timm==1.0.31 \
	  --extra-index-url https://download.pytorch.org/whl/cpu
	@touch $@

# Features, probes and neighbours are measured with the networks and libraries of the tests.
.venv/ready-bench: .venv/ready-test
	$(BIN)/python -m pip install --quiet --group bench \
	  --extra-index-url https://download.pytorch.org/whl/cpu
	@touch $@

.venv/ready-%: .venv/ready
	$(BIN)/python -m pip install --quiet --group $*
	@touch $@
