"""Parity, accuracy and latency of CO2-Net artefacts.

runners     targets, each in a process of its own
latency     time and memory
parity      artefacts against the PyTorch model
accuracy    mAP, errors, changes
graphs      the content of ONNX files
hardware    the machine behind a figure
report      run files on one page, or two compared
run_file    the JSON that a measurement leaves
timing      percentiles, intervals and ratios of samples
tables      one table as text, Markdown or HTML
inputs      features to measure on
cli         co2net-bench, one file per command; commands: its entry point
"""

import os

from co2net_runtime.version import VERSION as __version__

# before anything imports onnxruntime, here and in the processes that are started
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

__all__ = ["__version__"]
