"""The parity check: tensors, then decisions, then mAP, all against the PyTorch model."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from co2net.checkpoint import Checkpoint
from co2net.data.dataset import Dataset
from co2net.data.video import Video
from co2net.evaluation.mean_ap import EvaluationOptions
from co2net.evaluation.protocol import evaluate
from co2net.model import CO2Net
from co2net_export.parity.report import Accuracy, ParityReport, TensorParity
from co2net_export.parity.tensors import (
    Case,
    compare_tensors,
    make_cases,
    reference_outputs,
    run_case,
)
from co2net_runtime.artefact.contract import GraphKind
from co2net_runtime.cli.console import progress
from co2net_runtime.decoding.decisions import Decisions, Outputs, compare_decisions
from co2net_runtime.decoding.detect import DetectionRules, detect
from co2net_runtime.features import Features

# the average that CO2-Net results are usually compared by
MAP_RANGE = "0.1:0.7"


class HeldOut:
    """Videos that calibration has not seen, with the PyTorch model's outputs."""

    def __init__(
        self,
        model: CO2Net,
        checkpoint: Checkpoint,
        dataset: Dataset,
        videos: Sequence[Video],
        *,
        quiet: bool = False,
    ) -> None:
        self.videos = tuple(videos)
        self._dataset = dataset
        self._checkpoint = checkpoint
        self._quiet = quiet

        def pytorch(features: Features) -> Outputs:
            with torch.inference_mode():
                outputs = model(torch.from_numpy(features.copy()[None]))  # memory-mapped
            return Outputs(outputs.cas[0].numpy(), outputs.attention[0, :, 0].numpy())

        self.references = self.run(pytorch, "PyTorch on held-out videos")
        self._reference_map = self._average_map(self.references)

    def run(
        self, network: Callable[[Features], Outputs], label: str, *, quiet: bool = False
    ) -> tuple[Outputs, ...]:
        """Run a network on every video's features (T, D), with a progress bar called `label`."""
        with progress(self.videos, label, quiet=quiet or self._quiet) as videos:
            return tuple(network(self._dataset.load_features(video.name)) for video in videos)

    def decisions(self, outputs: Sequence[Outputs]) -> Decisions:
        """Compare the decisions with PyTorch's."""
        return compare_decisions(self.references, outputs, self._checkpoint.decode)

    def accuracy(self, outputs: Sequence[Outputs]) -> Accuracy | None:
        """Compare the mAP with PyTorch's; None where no segments are annotated."""
        if self._reference_map is None:
            return None
        found = self._average_map(outputs)
        assert found is not None
        return Accuracy(reference=self._reference_map, artefact=found)

    def _average_map(self, outputs: Sequence[Outputs]) -> float | None:
        if not any(len(video.segments) for video in self.videos):
            return None
        checkpoint, timing = self._checkpoint, self._dataset.timing
        rules = DetectionRules(checkpoint.classes, timing, checkpoint.decode)
        results = {
            video.name: detect(output.cas, output.attention, rules)
            for video, output in zip(self.videos, outputs, strict=True)
        }
        # a class that the model knows and the dataset does not can only give false positives
        unknown = [name for name in checkpoint.classes if name not in self._dataset.classes]
        evaluation = evaluate(
            results,
            self.videos,
            (*self._dataset.classes, *unknown),
            EvaluationOptions.of("co2net"),
            timing,
        )
        return 100 * evaluation.result.averages[MAP_RANGE]


class ParityCheck:
    """Compares artefacts of one checkpoint with its PyTorch model, which runs only once."""

    def __init__(self, model: CO2Net, held_out: HeldOut | None) -> None:
        self.held_out = held_out
        self._cases = make_cases(model.config)
        self._references = reference_outputs(model, self._cases)

    def tensors(self, session: Any, *, kind: GraphKind, halo: int) -> TensorParity:
        """Measure the first level alone. Raises as `measure` does."""
        return compare_tensors(session, self._cases, self._references, kind=kind, halo=halo)

    def measure(self, session: Any, *, kind: GraphKind, halo: int) -> ParityReport:
        """Measure an artefact at every level that there is data for.

        Args:
            session: The ONNX Runtime session that runs it.
            kind: What its graph is for.
            halo: Neighbors on either side that a chunk comes with.

        Returns:
            The figures; without held-out videos, those of the tensors alone.

        Raises:
            BackendError: Outputs are not finite, or not 0 in the padding.
        """
        tensors = self.tensors(session, kind=kind, halo=halo)
        if self.held_out is None:
            return ParityReport(tensors)
        outputs = self.held_out.run(
            lambda features: run_video(session, features, kind=kind, halo=halo),
            f"{kind} graph on held-out videos",
        )
        return ParityReport(
            tensors, self.held_out.decisions(outputs), self.held_out.accuracy(outputs)
        )


def run_video(
    session: Any, features: Features, *, kind: GraphKind = "whole", halo: int = 0
) -> Outputs:
    """Run an artefact on one video's features (T, D)."""
    case = Case(features[None], np.array([len(features)], dtype=np.int64))
    cas, attention = run_case(session, case, kind=kind, halo=halo)
    return Outputs(cas[0], attention[0, :, 0])
