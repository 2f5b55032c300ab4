# make demo   the whole chain on synthetic data: train, export, verify, infer, picture, latency
# make docs   the documentation site, into site/
# make test   lint, types, tests; and the runtime's tests on Python 3.10 where there is one
# make fuzz   damaged files for every reader (INPUTS=15000)
# make kill   kill -9 at random moments of every command that writes (KILLS=60)
# All set themselves up: they need python3 >= 3.10 with venv, and a package index.

PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
DEMO ?= demo-out
READY = $(VENV)/.ready

.PHONY: setup demo docs test lint types unit test310 fuzz kill clean

setup: $(READY)

$(READY): pyproject.toml setup.py constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("Python 3.10 or newer is needed" if sys.version_info < (3, 10) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

test: lint types unit test310

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	$(BIN)/mypy

unit: $(READY)
	$(BIN)/pytest -q -rs

test310: $(READY)
	sh tests/runtime/on_python310.sh

docs: $(READY)
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet

# The commands of docs/demo.md, in its order.
demo: export PATH := $(abspath $(BIN)):$(PATH)
demo: $(READY)
	rm -rf $(DEMO)
	co2net-data synth $(DEMO)/data --classes 5 --videos 60 --rgb-dim 64 --flow-dim 64
	co2net-train $(DEMO)/data --preset synthetic --out $(DEMO)/run
	co2net-export $(DEMO)/run/best.ckpt $(DEMO)/model.onnx
	co2net-bench parity $(DEMO)/run/best.ckpt $(DEMO)/model.onnx
	co2net-infer $(DEMO)/model.onnx '$(DEMO)/data/features/*test*.npy' --out $(DEMO)/predictions.json --plot $(DEMO)/plots --ground-truth $(DEMO)/data/annotations.json
	co2net-bench accuracy $(DEMO)/predictions.json $(DEMO)/data
	co2net-bench latency $(DEMO)/run/best.ckpt $(DEMO)/model.onnx --lengths 50,250

INPUTS ?= 15000
KILLS ?= 60
SEED ?= 0

fuzz: $(READY)
	$(BIN)/python -m tests.fuzz.campaign --inputs $(INPUTS) --seed $(SEED)

kill: $(READY)
	$(BIN)/python -m tests.fuzz.kill --kills $(KILLS) --seed $(SEED)

clean:
	rm -rf $(VENV) .venv310* $(DEMO) build dist site *.egg-info
