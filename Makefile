# make quickstart   trains a small speech-text model on spoken sentences and lets you hear it
# make test         lint and all tests but the long ones
# make test-long    the long ones, and those that compare with PyTorch (installs it)
# make lint         ruff alone
# make bench        measures speeds on this CPU (installs PyTorch), writes docs/performance.md
# make clean        removes what was built; runs/ stays
#
# PYTHON=python3.12 make ...   takes another Python for the environment in .venv

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-print-directory
.DELETE_ON_ERROR:
.PHONY: quickstart test test-long lint bench clean

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
QUICKSTART := runs/quickstart

# --no-compile: byte-compiling every package takes longer than installing it, and few files are used.
define install
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(None if (3, 11) <= v <= (3, 13) else \
	  f"audiopalm needs Python 3.11 to 3.13, but $(PYTHON) is {sys.version.split()[0]}.\n" \
	  "Install one of them and name it: make PYTHON=python3.11 $(MAKECMDGOALS)")'
	@echo "Installing audiopalm[$(1)] into $(VENV): a few minutes the first time."
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --no-compile --disable-pip-version-check --editable '.[$(1)]'
	@touch $@
endef

$(VENV)/data.stamp: setup.py
	$(call install,data)

$(VENV)/test.stamp: setup.py
	$(call install,data$(comma)test)
	@touch $(VENV)/data.stamp

$(VENV)/export.stamp: setup.py
	$(call install,data$(comma)test$(comma)export)
	@touch $(VENV)/data.stamp $(VENV)/test.stamp

comma := ,

quickstart: $(VENV)/data.stamp
	@$(BIN)/audiopalm train quickstart --workdir $(QUICKSTART)
	@$(BIN)/audiopalm evaluate --workdir $(QUICKSTART) --json $(QUICKSTART)/evaluation.json
	@$(BIN)/audiopalm report --workdir $(QUICKSTART)

# Three workers for two cores: many tests wait for processes that they start.
test: $(VENV)/test.stamp lint
	@$(BIN)/pytest -q -n 3 --dist loadfile -m 'not long'

test-long: $(VENV)/export.stamp
	@$(BIN)/pytest -q -n 2 --dist loadfile -m 'long or torch'

lint: $(VENV)/test.stamp
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --quiet --check . || \
	  { echo "Not formatted as ruff would: run '$(BIN)/ruff format .'."; exit 1; }

# Accelerators are measured by hand: the processes of one benchmark would share it.
bench: $(VENV)/export.stamp
	@for name in step_speed decode_speed data_speed prepare_speed scaling plan_ranking \
	  checkpoint_stall render; do \
	  echo "benchmarks/$$name.py"; JAX_PLATFORMS=cpu $(BIN)/python benchmarks/$$name.py; done

clean:
	@rm -rf $(VENV) build dist *.egg-info .pytest_cache .ruff_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
