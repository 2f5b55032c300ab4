"""The model that Triton's Python backend runs: 1/model.py of a repository imports it.

The module triton_python_backend_utils exists inside of Triton alone, so it is imported in there.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from co2net_runtime.backends import EngineOptions
from co2net_runtime.errors import Co2netError, InputError
from co2net_runtime.files.records import from_mapping
from co2net_runtime.localizer import Localizer
from co2net_runtime.serving.answers import answer, to_tensors
from co2net_runtime.serving.config import FILE, WARM_UP


class TritonPythonModel:
    """One instance: one Localizer, with threads of its own."""

    def initialize(self, args: Mapping[str, str]) -> None:
        """Open the model and run it once; an error here keeps the model from being ready."""
        import triton_python_backend_utils as utils

        self._utils = utils
        parameters = {
            key: value["string_value"]
            for key, value in json.loads(args["model_config"])["parameters"].items()
        }
        options = from_mapping(EngineOptions, json.loads(parameters["engine"]), "engine")
        if args["model_instance_kind"] == "GPU":  # Triton deals its GPUs out to the instances
            options = replace(options, device=f"cuda:{args['model_instance_device_id']}")
        folder = Path(args["model_repository"]) / args["model_version"]
        self._localizer = Localizer.load(folder / FILE, options)
        utils.Logger.log_info(f"co2net: {self._localizer.engine}")
        self._figures = _Figures(utils, args["model_name"])
        self._localizer(np.zeros((WARM_UP, self._localizer.contract.feature_dim), np.float32))

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """Answer the requests of one batch."""
        given = [
            self._utils.get_input_tensor_by_name(request, "features").as_numpy()
            for request in requests
        ]
        answers = answer(self._localizer, given)
        snippet_s = self._localizer.contract.timing.snippet_s
        for features, found in zip(given, answers, strict=True):
            if isinstance(found, Co2netError):
                self._figures.add("failed", max(1, len(features)), 0.0)
            else:
                self._figures.add("done", len(features), len(found) * features.shape[1] * snippet_s)
        return [self._reply(found) for found in answers]

    def finalize(self) -> None:
        """Free the model."""
        self._localizer.close()

    def _reply(self, found: Any) -> Any:
        if not isinstance(found, Co2netError):
            tensors = to_tensors(found).items()
            return self._utils.InferenceResponse([self._utils.Tensor(*each) for each in tensors])
        kind = self._utils.TritonError
        code = kind.INVALID_ARG if isinstance(found, InputError) else kind.INTERNAL
        return self._utils.InferenceResponse(error=kind(str(found), code))


class _Figures:
    """Figures beside Triton's own, which do not count requests that a Python backend refuses."""

    def __init__(self, utils: Any, model: str) -> None:
        counter = utils.MetricFamily.COUNTER
        videos = utils.MetricFamily("co2net_videos_total", "Videos by result.", counter)
        seconds = utils.MetricFamily("co2net_video_seconds_total", "Seconds of video.", counter)
        self._families = (videos, seconds)  # their metrics end with them
        self._videos = {
            result: videos.Metric(labels={"model": model, "result": result})
            for result in ("done", "failed")
        }
        self._seconds = seconds.Metric(labels={"model": model})

    def add(self, result: str, videos: int, seconds: float) -> None:
        """Count the videos of a request."""
        self._videos[result].increment(videos)
        self._seconds.increment(seconds)
