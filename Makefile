# Everything below sets itself up: the first target you call makes .venv with the tested versions of pins.txt.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
BASE := $(VENV)/.base
READY := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help setup quickstart test lint

help:  ## this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## */\t/' | expand -t 14

setup: $(READY)  ## make .venv and install everything into it, for the tests too

quickstart: $(BASE)  ## train and evaluate a micro model on synthetic scenes, minutes on a CPU (or ARGS=engine.epochs=1)
	$(BIN)/python scripts/train.py experiment=quickstart overwrite=true $(ARGS)

test: $(READY)  ## run the tests (ARGS='-m "not slow"' for the quick ones)
	$(BIN)/python -m pytest -n 2 --dist loadfile $(ARGS)

lint: $(READY)  ## ruff, mypy and the import contract
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# sam2's build needs torch, and pip's build isolation would install a second one of several GB for it. So torch comes first,
# and the rest is built without isolation. sam2's compiled extension is for video only and left out.
INSTALL := SAM2_BUILD_CUDA=0 $(BIN)/python -m pip install -q -c pins.txt --no-build-isolation

$(BASE): pyproject.toml pins.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q -c pins.txt setuptools wheel hatchling editables
	$(BIN)/python -m pip install -q -c pins.txt torch torchvision
	$(INSTALL) -e .
	touch $@

$(READY): $(BASE)
	$(INSTALL) -e '.[dev]'
	touch $@
