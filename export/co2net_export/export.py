"""Checkpoint -> proven ONNX artefacts: convert, lower, climb the parity ladder, then name."""

import dataclasses
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import onnx

from co2net.checkpoint import Checkpoint
from co2net.config import ModelConfig
from co2net.data.dataset import Dataset
from co2net_export.cpu.cpu_graph import Optimize, optimise_for_cpu
from co2net_export.graph.convert import (
    DEFAULT_OPSET,
    convert,
    input_names,
    output_names,
    state_dim,
)
from co2net_export.graph.session import open_graph, open_session
from co2net_export.graph.write import check_file, set_contract, staging, versions, write_model
from co2net_export.parity.gate import Gate, default_gate
from co2net_export.parity.parity import HeldOut, Ladder
from co2net_export.parity.report import Proof
from co2net_export.parity.videos import Material, check_fits
from co2net_export.precision.calibration import Range
from co2net_export.precision.fp16 import with_rounding
from co2net_export.precision.options import (
    FP32,
    PRECISIONS,
    Precision,
    PrecisionOptions,
    calibrate,
    lower,
)
from co2net_runtime.artefact.contract import Contract, GraphKind, ReceptiveField
from co2net_runtime.cli.console import progress
from co2net_runtime.errors import BackendError, InputError


@dataclass(frozen=True)
class Artefact:
    """One written file and what was measured on it; failures: what a gate would have refused."""

    path: Path
    contract: Contract
    proof: Proof
    failures: tuple[str, ...] = ()


class Exporter:
    """Exports one checkpoint in as many precisions as wanted; PyTorch runs once for all of them.

    checkpoint_sha256: of the checkpoint file, recorded in the contracts. dataset, material: what
    to calibrate and to judge decisions on; without them there is no int8, and the parity ladder
    ends with tensors.

    Raises InputError if the dataset's features or classes are not the model's.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        *,
        checkpoint_sha256: str,
        opset: int = DEFAULT_OPSET,
        dataset: Dataset | None = None,
        material: Material | None = None,
        quiet: bool = False,
    ) -> None:
        if dataset is not None:
            check_fits(dataset, checkpoint)
        self.checkpoint = checkpoint
        self.dataset = dataset
        self.material = material
        self.quiet = quiet
        self._sha256 = checkpoint_sha256
        self._opset = opset
        self._model = checkpoint.build()
        self._graphs: dict[GraphKind, onnx.ModelProto] = {}

    def graph(self, kind: GraphKind = "whole") -> onnx.ModelProto:
        """Return the fp32 graph; not to be changed."""
        if kind not in self._graphs:
            self._graphs[kind] = convert(self._model, kind=kind, opset=self._opset)
        return self._graphs[kind]

    @cached_property
    def ladder(self) -> Ladder:
        """The parity ladder with PyTorch's side of it measured."""
        return Ladder(self._model, self.held_out)

    @cached_property
    def held_out(self) -> HeldOut | None:
        """The videos that judge decisions, with PyTorch's outputs."""
        if self.dataset is None or self.material is None or not self.material.held_out:
            return None
        return HeldOut(
            self._model, self.checkpoint, self.dataset, self.material.held_out, quiet=self.quiet
        )

    def ranges(self, options: PrecisionOptions) -> Mapping[str, Range]:
        """Calibrate; nothing for the precisions that need none.

        Raises InputError where calibration data are needed and missing.
        """
        if not options.quantised:
            return {}
        if self.dataset is None or self.material is None:
            raise InputError(
                f"{options.precision} needs data to calibrate on: name it with --calibration DATA"
            )
        label = f"calibrating on {len(self.material.calibration)} training videos"
        with progress(self.material.calibration, label, quiet=self.quiet) as videos:
            features = (self.dataset.load_features(video.name) for video in videos)
            return calibrate(self.graph(), options, features)

    def write(
        self,
        path: str | os.PathLike[str],
        options: PrecisionOptions = FP32,
        *,
        gate: Gate | None = None,
        enforce: bool = True,
        chunks: bool = False,
        live: bool = False,
        optimize: Optimize = "none",
        external_data: bool = False,
    ) -> tuple[Artefact, ...]:
        """Write `path` and, if `chunks`, the chunk graph beside it, `NAME.chunk.onnx`.

        live: also the graph for live streams, `NAME.live.onnx`, in fp32 only. optimize: "cpu"
        rewrites the graphs for whole videos and for chunks (cpu_graph.py), fp32 only.

        Every file climbs the parity ladder before any gets its name; one that does not hold the
        gate leaves nothing behind. gate: by default that of the precision. enforce: False writes
        the files whatever the ladder says, and their contracts say so.

        Raises InputError for what the user can mend, BackendError if the gate is not met.
        """
        target = Path(path)
        check_name(target, options.precision)
        if live and options.precision != "fp32":
            raise InputError(f"the graph for live streams is fp32, not {options.precision}")
        if optimize == "cpu" and options.precision != "fp32":
            raise InputError(
                f"--optimize cpu is a form of the fp32 graph, not of {options.precision}"
            )
        gate = gate or default_gate(options.precision, optimize)
        ranges = self.ranges(options)
        kinds: list[GraphKind] = ["whole"]
        if chunks:
            kinds.append("chunk")
        if live:
            kinds.append("live")
        artefacts = []
        with staging(target) as folder:
            for kind in kinds:
                file = folder / (target.name if kind == "whole" else f"{target.stem}.{kind}.onnx")
                graph = self.graph(kind)
                if kind != "live":
                    graph = lower(graph, options, ranges)
                contract = self._contract(kind, graph, options.precision)
                if kind != "live" and optimize == "cpu":
                    graph = optimise_for_cpu(graph, self.checkpoint.model)
                    contract = dataclasses.replace(contract, optimize=optimize)
                set_contract(graph, contract)
                write_model(graph, file, external_data=external_data)
                check_file(file)
                proof = self._prove(file, graph, contract)
                failures = proof.failures(gate)
                if failures and enforce:
                    raise BackendError(
                        f"the {options.precision} {kind} graph is too far from the PyTorch model "
                        f"({'; '.join(failures)}): nothing was written. --sensitivity shows which "
                        "layers cost most, --float-layer keeps them in float, --gate moves the "
                        "bounds"
                    )
                parity = proof.to_mapping(gate if enforce else None)
                contract = dataclasses.replace(contract, parity=parity)
                set_contract(graph, contract)
                write_model(graph, file, external_data=external_data)
                artefacts.append(Artefact(target.parent / file.name, contract, proof, failures))
        return tuple(artefacts)

    def _prove(self, file: Path, graph: onnx.ModelProto, contract: Contract) -> Proof:
        """Run the file, and let what it holds climb the ladder."""
        kind, halo = contract.graph, contract.receptive_field.attention
        session = open_session(file)
        if contract.precision != "fp16":
            return self.ladder.climb(session, kind=kind, halo=halo)
        # the file must run, but its figures on a CPU would flatter it
        self.ladder.tensors(session, kind=kind, halo=halo)
        return self.ladder.climb(open_graph(with_rounding(graph)), kind=kind, halo=halo)

    def _contract(self, kind: GraphKind, graph: onnx.ModelProto, precision: Precision) -> Contract:
        config = self.checkpoint.model
        return Contract(
            classes=self.checkpoint.classes,
            rgb_dim=config.rgb_dim,
            flow_dim=config.flow_dim,
            opset=self._opset,
            checkpoint_sha256=self._sha256,
            timing=self.checkpoint.timing,
            decode=self.checkpoint.decode,
            pool_kernel=config.pool_kernel,
            receptive_field=receptive_field(config),
            precision=precision,
            graph=kind,
            inputs=input_names(kind),
            outputs=output_names(kind),
            dynamic_axes=dynamic_axes(graph),
            versions=versions(),
            state_dim=state_dim(self._model) if kind == "live" else 0,
            context_prior=self._context_prior() if kind == "live" else (),
        )

    def _context_prior(self) -> tuple[float, ...]:
        """Return the mean over the calibration videos of their temporal means; () without data."""
        if self.dataset is None or self.material is None or not self.material.calibration:
            return ()
        means = [
            np.asarray(self.dataset.load_features(video.name)).mean(axis=0, dtype=np.float64)
            for video in self.material.calibration
        ]
        # float32 in as few digits as say it
        return tuple(float(str(value)) for value in np.mean(means, axis=0).astype(np.float32))


def receptive_field(config: ModelConfig) -> ReceptiveField:
    """Snippets on either side that the outputs depend on (method, section 1)."""
    margin = config.pool_kernel // 2
    return ReceptiveField(cas=2 + margin, attention=3 + margin)


def dynamic_axes(graph: onnx.ModelProto) -> dict[str, tuple[str, ...]]:
    """Return, for each input and output, the names of its axes of free size, in order."""
    return {
        value.name: tuple(
            dim.dim_param for dim in value.type.tensor_type.shape.dim if dim.dim_param
        )
        for value in (*graph.graph.input, *graph.graph.output)
    }


def check_name(path: Path, precision: Precision) -> None:
    """Raise InputError for a name that is no ONNX file's, or that speaks of another precision."""
    if path.suffix != ".onnx":
        raise InputError(f"{path}: give the artefact a name that ends in .onnx")
    for kind in ("chunk", "live"):
        if path.stem.endswith(f".{kind}"):
            raise InputError(f"{path}: NAME.{kind}.onnx is the name of NAME.onnx's {kind} graph")
    words = set(re.split(r"[^a-z0-9-]+", path.stem.lower()))
    for named in (words & set(PRECISIONS), words & {name.partition("-")[0] for name in PRECISIONS}):
        if named and precision not in named and precision.partition("-")[0] not in named:
            raise InputError(f"{path}: the name says {min(named)}, the precision is {precision}")
