# Every target sets itself up: the first one makes .venv with the tested versions of pins.txt.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
BASE := $(VENV)/.base
READY := $(VENV)/.ready
PYTEST := $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder --durations=15
COMPILED := $(BIN)/python -m compileall -q ipsam  # else each process that tests start might do it

.DEFAULT_GOAL := help
.PHONY: help setup quickstart test test-all lint

help:  ## print this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## */\t/' | expand -t 14

setup: $(READY)  ## make .venv with everything, tests included

quickstart: $(BASE)  ## train and evaluate a micro model on synthetic scenes; minutes on a CPU (or ARGS=engine.epochs=1)
	$(BIN)/python scripts/train.py experiment=quickstart overwrite=true $(ARGS)

test: $(READY)  ## run the quick tests (or ARGS='tests/data -x')
	$(COMPILED)
	$(PYTEST) -m 'not slow' $(ARGS)

test-all: $(READY)  ## run all tests, also those that take long or repeat a promise at length
	$(COMPILED)
	$(PYTEST) $(ARGS)

lint: $(READY)  ## run ruff, mypy and the import contract
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Exactly the files whose sha256 pins.txt holds. Set PINS= for others, such as torch's wheels for CPUs alone; pins.txt is for
# Linux. sam2's build needs torch, and pip's build isolation would install a second one of several GB for it. So torch comes
# first, and the rest is built without isolation. sam2's compiled extension is for video only and left out.
PINS := $(if $(filter Linux,$(shell uname)),--require-hashes -c pins.txt)
PIP := $(BIN)/python -m pip install -q --disable-pip-version-check
INSTALL := SAM2_BUILD_CUDA=0 $(PIP) $(PINS) --no-build-isolation

$(BASE): pyproject.toml pins.txt
	$(PYTHON) -m venv $(VENV)
	sed -n '/^pip==/,/[^\\]$$/p' pins.txt > $(VENV)/pip.txt && $(PIP) --require-hashes -r $(VENV)/pip.txt
	$(INSTALL) setuptools wheel hatchling editables
	$(INSTALL) torch torchvision
	$(PIP) --no-deps --no-build-isolation -e .
	$(INSTALL) 'ipsam[torch]'
	touch $@

$(READY): $(BASE)
	$(INSTALL) 'ipsam[dev]'
	$(INSTALL) --no-deps imagecorruptions-imaug
	touch $@
