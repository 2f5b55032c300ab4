"""Level 1 of the parity check: an ONNX file's output tensors against the PyTorch model's."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from co2net.config import ModelConfig
from co2net.model import CO2Net
from co2net_export.parity.report import Difference, TensorParity
from co2net_runtime.artefact.contract import OUTPUT_NAMES, Contract, GraphKind
from co2net_runtime.backends import Arrays
from co2net_runtime.errors import BackendError
from co2net_runtime.live.steps import Step, StreamState, advance, finish

Array = npt.NDArray[np.float32]
Pair = tuple[Array, Array]

# snippets of a chunk: short, so that the cases have many borders
CHUNK = 48


@dataclass(frozen=True)
class Case:
    """A batch of random videos."""

    features: Array  # (B, T, D) float32, NaN from each row's length on
    lengths: npt.NDArray[np.int64]  # (B,)


def make_cases(config: ModelConfig, *, seed: int = 0) -> tuple[Case, ...]:
    """Return random, non-negative features, as I3D's are, at several B and T.

    Single videos of 1, 2, 3, an odd number, THUMOS14's median and a long number of snippets, and
    ragged batches whose padding is NaN.
    """
    rng = np.random.default_rng(seed)
    shapes = ([1], [2], [3], [17], [317], [1000], [33, 1, 17, 2], [3, 64])
    cases = []
    for lengths in shapes:
        batch = rng.standard_normal((len(lengths), max(lengths), config.feature_dim))
        features = np.abs(0.5 * batch).astype(np.float32)
        for row, length in enumerate(lengths):
            features[row, length:] = np.nan
        cases.append(Case(features, np.array(lengths, dtype=np.int64)))
    return tuple(cases)


def reference_outputs(model: CO2Net, cases: Iterable[Case]) -> list[Pair]:
    """Run the PyTorch model on every row alone, unpadded; 0 from each row's length on."""
    results = []
    for case in cases:
        batch, time, _ = case.features.shape
        cas = np.zeros((batch, time, model.config.classes + 1), np.float32)
        attention = np.zeros((batch, time, 1), np.float32)
        for row, length in enumerate(case.lengths):
            with torch.inference_mode():
                outputs = model(torch.from_numpy(case.features[row : row + 1, :length]))
            cas[row, :length] = outputs.cas[0].numpy()
            attention[row, :length] = outputs.attention[0].numpy()
        results.append((cas, attention))
    return results


def run_case(session: Any, case: Case, *, kind: GraphKind, halo: int) -> Pair:
    """Run a batch through a whole-video graph, or in chunks with halo through a chunk graph.

    Through a live graph, each video is a stream whose temporal mean is known in advance.
    """
    if kind == "whole":
        feeds = {"features": case.features, "lengths": case.lengths}
        cas, attention = session.run(OUTPUT_NAMES, feeds)
        return cas, attention
    if kind == "live":
        return _run_live(session, case)
    context = np.stack(
        [
            row[:length].mean(axis=0, dtype=np.float64).astype(np.float32)
            for row, length in zip(case.features, case.lengths, strict=True)
        ]
    )
    time = case.features.shape[1]
    parts = []
    for start in range(0, time, CHUNK):
        stop = min(time, start + CHUNK)
        low, high = max(0, start - halo), min(time, stop + halo)
        feeds = {
            "features": case.features[:, low:high],
            "lengths": np.clip(case.lengths - low, 0, high - low),
            "context": context,
        }
        outputs = session.run(OUTPUT_NAMES, feeds)
        parts.append([output[:, start - low : stop - low] for output in outputs])
    cas, attention = (np.concatenate(part, axis=1) for part in zip(*parts, strict=True))
    return cas, attention


def _run_live(session: Any, case: Case) -> Pair:
    metadata = session.get_modelmeta().custom_metadata_map
    contract = Contract.from_metadata(metadata, "the graph for live streams")

    def infer(feeds: Arrays) -> dict[str, Array]:
        return dict(zip(contract.outputs, session.run(contract.outputs, dict(feeds)), strict=True))

    batch, time, _ = case.features.shape
    cas = np.zeros((batch, time, len(contract.classes) + 1), np.float32)
    attention = np.zeros((batch, time, 1), np.float32)
    for row, length in enumerate(case.lengths):
        features = case.features[row, :length]
        context = features.mean(axis=0, dtype=np.float64).astype(np.float32)
        carried = StreamState.initial(contract)
        parts = [
            advance(infer, contract, [Step(carried, features[start : start + CHUNK], context)])[0]
            for start in range(0, length, CHUNK)
        ]
        parts.append(finish(infer, contract, Step(carried, features, context)))
        rows = np.concatenate(parts)
        cas[row, :length], attention[row, :length] = rows[:, :-1], rows[:, -1:]
    return cas, attention


def compare_tensors(
    session: Any,
    cases: Sequence[Case],
    references: Sequence[Pair],
    *,
    kind: GraphKind = "whole",
    halo: int = 0,
) -> TensorParity:
    """Compare the session's outputs with the references on all cases.

    Raises BackendError for an output that is not finite, or not 0 in the padding: no gate allows
    that.
    """
    differences: tuple[list[Array], list[Array]] = ([], [])
    for case, reference in zip(cases, references, strict=True):
        outputs = run_case(session, case, kind=kind, halo=halo)
        time = np.arange(case.features.shape[1])
        valid = time[None, :] < case.lengths[:, None]
        for name, collected, output, expected in zip(
            OUTPUT_NAMES, differences, outputs, reference, strict=True
        ):
            where = f"the exported {kind} graph at lengths {case.lengths.tolist()}"
            if not np.isfinite(output[valid]).all():
                raise BackendError(f"{where} gives {name} that is not finite")
            if np.any(output[~valid]):
                raise BackendError(f"{where} gives {name} that is not 0 in the padding")
            collected.append(np.abs(output[valid] - expected[valid]).ravel())
    scale = max(1.0, *(float(np.abs(cas).max()) for cas, _ in references))
    cas, attention = (Difference.of(np.concatenate(parts)) for parts in differences)
    return TensorParity(cas=cas, attention=attention, scale=scale)
