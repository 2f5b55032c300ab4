"""One parity run: opens the checkpoint and the artefacts, compares them, bisects if asked."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx

from co2net.checkpoint import Checkpoint
from co2net.data.dataset import DatasetOptions, open_dataset
from co2net.data.video import evenly
from co2net_benchmarks.inputs import is_dataset, planted_features
from co2net_benchmarks.parity.bisection import TOLERANCES, Feeds, bisect, load_graph
from co2net_benchmarks.parity.compare import compare_artefact, computed_precision
from co2net_benchmarks.parity.reference import ReferenceSet
from co2net_benchmarks.parity.results import ArtefactParity, ParityResults, TensorStep
from co2net_runtime.backends import EngineOptions
from co2net_runtime.cli import console
from co2net_runtime.errors import Co2netError, InputError
from co2net_runtime.feature_files import find_feature_files
from co2net_runtime.files.atomic import sha256
from co2net_runtime.files.inputs import require_file
from co2net_runtime.localizer import Localizer

_BISECT_LENGTH = 50


@dataclass(frozen=True)
class ParityPlan:
    """Settings of a parity run."""

    lengths: tuple[int, ...] = (1, 2, 3, 17, 50, 250, 750)  # of the planted videos, in snippets
    seed: int = 0  # of the planted videos
    features: str | None = None  # feature file, folder of them, or dataset to judge by
    videos: int | None = None  # number of its videos; None: all
    engine: EngineOptions = field(default_factory=EngineOptions)  # of the artefacts
    bisect: bool = False  # compare the graphs' inner tensors, too
    tolerance: float | None = None  # of the bisection; None: by precision


def run_parity(
    checkpoint: Path,
    artefacts: Sequence[Path],
    plan: ParityPlan,
    dataset_options: DatasetOptions,
    *,
    quiet: bool = False,
) -> ParityResults:
    """Compare artefacts with a checkpoint.

    Args:
        checkpoint: The reference, in PyTorch.
        artefacts: One that cannot be compared is in the results with its reason.
        plan: The settings.
        dataset_options: How to open `plan.features`, if it is a dataset.
        quiet: Show no progress.

    Returns:
        One record per artefact.

    Raises:
        InputError: The checkpoint or the videos cannot be used, or a file is missing.
    """
    if plan.bisect and plan.engine.bf16:
        raise InputError("--bisect compares the file's own tensors: leave out --bf16")
    for artefact in artefacts:
        require_file(artefact)
    loaded = _load_checkpoint(checkpoint, artefacts[0], plan.engine)
    console.note(f"running {checkpoint} in PyTorch", quiet=quiet)
    references = ReferenceSet(loaded, plan.lengths, seed=plan.seed)
    kind = "planted videos"
    if plan.features is not None:
        path = Path(plan.features)
        _add_videos(references, path, plan.videos, dataset_options, quiet=quiet)
        kind = f"videos of {path.name}"
    digest = sha256(checkpoint)
    bisector = _Bisector(loaded, plan) if plan.bisect else None
    found = []
    for artefact in artefacts:
        one = _compare(artefact, references, digest, plan.engine, quiet=quiet)
        if bisector is not None and one.precision:
            one = dataclasses.replace(one, bisection=bisector.steps(artefact, one.precision))
        found.append(one)
    return ParityResults(checkpoint.name, f"{len(references.judged)} {kind}", tuple(found))


def _load_checkpoint(path: Path, artefact: Path, engine: EngineOptions) -> Checkpoint:
    """Read a checkpoint of co2net, or a published one with the help of its artefact's contract."""
    try:
        return Checkpoint.load(path)
    except InputError as error:
        if "published" not in str(error):
            raise
        with Localizer.load(artefact, engine) as localizer:
            contract = localizer.contract
        return Checkpoint.from_published(
            path,
            classes=contract.classes,
            pool_kernel=contract.pool_kernel,
            timing=contract.timing,
            decode=contract.decode,
        )


def _add_videos(
    references: ReferenceSet, path: Path, count: int | None, options: DatasetOptions, *, quiet: bool
) -> None:
    if options.annotations is not None or is_dataset(path):
        references.add_dataset(open_dataset(path, options), count, quiet=quiet)
    else:
        references.add_files(evenly(find_feature_files([path]), count), quiet=quiet)


def _compare(
    path: Path, references: ReferenceSet, digest: str, engine: EngineOptions, *, quiet: bool
) -> ArtefactParity:
    failed = ArtefactParity(path.name, path.name, path.stat().st_size, "failed")
    try:
        localizer = Localizer.load(path, engine)
    except Co2netError as error:
        return dataclasses.replace(failed, reason=str(error))
    with localizer:
        try:
            return compare_artefact(path.name, path, localizer, references, digest, quiet=quiet)
        except Co2netError as error:
            precision = computed_precision(localizer)
            return dataclasses.replace(failed, reason=str(error), precision=precision)


class _Bisector:
    """Compares artefacts with fresh fp32 exports of the checkpoint, one per opset."""

    def __init__(self, checkpoint: Checkpoint, plan: ParityPlan) -> None:
        self._checkpoint, self._tolerance = checkpoint, plan.tolerance
        dim = checkpoint.model.feature_dim
        features = planted_features(_BISECT_LENGTH, dim, seed=plan.seed)
        self._feeds: Feeds = {
            "features": features[None],
            "lengths": np.array([len(features)], dtype=np.int64),
        }
        self._references: dict[int, onnx.ModelProto] = {}

    def steps(self, path: Path, precision: str) -> tuple[TensorStep, ...]:
        from co2net_export.graph.convert import OPSETS, convert

        graph = load_graph(path)
        opset = graph.opset_import[0].version
        opset = opset if opset in OPSETS else OPSETS[-1]
        if opset not in self._references:
            self._references[opset] = convert(self._checkpoint.build(), opset=opset)
        optimized = any(node.op_type == "If" for node in graph.graph.node)
        tolerance = TOLERANCES["fp32-cpu" if optimized else precision]
        tolerance = tolerance if self._tolerance is None else self._tolerance
        return bisect(self._references[opset], graph, self._feeds, tolerance)
