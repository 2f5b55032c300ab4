"""Checkpoint -> ONNX artefacts: convert, lower, optimize, write, compare with PyTorch, name."""

import dataclasses
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import onnx

from co2net.checkpoint import Checkpoint
from co2net.config import ModelConfig
from co2net.data.dataset import Dataset
from co2net.data.video import evenly
from co2net_export.cpu.cpu_graph import optimize_for_cpu
from co2net_export.graph.convert import (
    DEFAULT_OPSET,
    convert,
    input_names,
    output_names,
    state_dim,
)
from co2net_export.graph.session import bf16_session, open_graph, open_session
from co2net_export.graph.write import check_file, set_contract, staging, versions, write_model
from co2net_export.model_card import card_path, model_card
from co2net_export.names import check_form, check_name, sibling
from co2net_export.parity.gate import Gate, default_gate
from co2net_export.parity.parity import HeldOut, ParityCheck
from co2net_export.parity.report import ParityReport
from co2net_export.parity.videos import Split, check_fits
from co2net_export.precision.calibration import Histogram
from co2net_export.precision.fp16 import with_rounding
from co2net_export.precision.options import (
    FOR_GPUS,
    FP32,
    PrecisionOptions,
    calibrate,
    lower,
)
from co2net_export.sensitivity import relaxed
from co2net_runtime.artefact.contract import (
    Contract,
    GraphKind,
    Optimize,
    Precision,
    ReceptiveField,
)
from co2net_runtime.cli.console import progress
from co2net_runtime.errors import GateError, InputError
from co2net_runtime.files.atomic import output_file, write_text
from co2net_runtime.files.text import number_of

# calibration videos that tell which layer costs most: the errors are means over their snippets
RELAXING_VIDEOS = 8


@dataclass(frozen=True)
class Artefact:
    """One written file and its measurements."""

    path: Path
    contract: Contract
    report: ParityReport
    failures: tuple[str, ...] = ()  # bounds of the gates that it exceeds; only without enforcement
    bf16: ParityReport | None = None  # of the file as --bf16 computes it; None: not judged
    # layers that int8 keeps in float, wholly or their inputs, because the gate was missed otherwise
    kept: tuple[str, ...] = ()


class Exporter:
    """Exports one checkpoint in any number of precisions; the PyTorch model runs only once.

    Args:
        checkpoint: The model.
        checkpoint_sha256: Of its file; recorded in the contracts.
        opset: ONNX opset of the graphs.
        dataset: Features and annotations to calibrate and judge on. Without them there is no int8,
            and parity is checked on tensors alone.
        split: Which of the dataset's videos calibrate and which judge.
        quiet: No progress bars.

    Raises:
        InputError: The dataset's features or classes are not the model's.

    Example:
        dataset = open_dataset("thumos14")
        exporter = Exporter(Checkpoint.load("best.ckpt"), checkpoint_sha256=sha256("best.ckpt"),
                            dataset=dataset, split=calibration_split(dataset))
        exporter.write("model.onnx")
        exporter.write("model.int8.onnx", PrecisionOptions("int8-cpu"))
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        *,
        checkpoint_sha256: str,
        opset: int = DEFAULT_OPSET,
        dataset: Dataset | None = None,
        split: Split | None = None,
        quiet: bool = False,
    ) -> None:
        if dataset is not None:
            check_fits(dataset, checkpoint)
        self.checkpoint = checkpoint
        self.dataset = dataset
        self.split = split
        self.quiet = quiet
        self._sha256 = checkpoint_sha256
        self._opset = opset
        self._model = checkpoint.build()
        self._graphs: dict[GraphKind, onnx.ModelProto] = {}

    def write(
        self,
        path: str | os.PathLike[str],
        options: PrecisionOptions = FP32,
        *,
        gate: Gate | None = None,
        bf16: Gate | None = None,
        enforce: bool = True,
        strict: bool = False,
        chunks: bool = False,
        live: bool = False,
        optimize: Optimize = "none",
        external_data: bool = False,
        overwrite: bool = False,
    ) -> tuple[Artefact, ...]:
        """Write an artefact whose parity with the PyTorch model is measured and within the gate.

        A model card, NAME.md, goes with it. All files get their names together, after the last one
        has passed; on any error there are none. An int8 graph that misses the gate keeps one layer
        more in float at a time, the most costly one first, until it passes.

        Args:
            path: The file to write, NAME.onnx.
            options: The precision.
            gate: Bounds on the differences; None for the precision's own.
            bf16: Bounds on the differences when this processor computes the file in bfloat16, as
                co2net-infer --bf16 does; None: not judged.
            enforce: False writes the files whatever is measured, and their contracts say so.
            strict: Do not let int8 keep further layers in float.
            chunks: Also write the chunk graph, NAME.chunk.onnx.
            live: Also write the graph for live streams, NAME.live.onnx; fp32 only.
            optimize: "cpu" rewrites the graphs for whole videos and chunks; fp32 only.
            external_data: Put the weights into files of their own, NAME.onnx.data.
            overwrite: Replace files that exist.

        Returns:
            The written files, the graph for whole videos first.

        Raises:
            InputError: Something that the user can fix.
            GateError: The gate is not met.
            BackendError: ONNX Runtime or ONNX's checker refuses a graph, or this processor does
                not compute in bfloat16.
            MissingDependencyError: An engine is not installed.
        """
        target = Path(path)
        check_name(target, options.precision)
        check_form(options.precision, live=live, optimize=optimize, bf16=bf16 is not None)
        kinds: list[GraphKind] = ["whole"]
        if chunks:
            kinds.append("chunk")
        if live:
            kinds.append("live")
        for file in (*(sibling(target, kind) for kind in kinds), card_path(target)):
            output_file(file, overwrite=overwrite)
        gate = gate or default_gate(options.precision, optimize)
        relaxing = options.quantized and enforce and not strict
        missed: GateError | None = None
        with staging(target) as folder:
            for attempt in self._attempts(options, relaxing):
                kept = _kept(attempt, options)
                artefacts = []
                try:
                    for kind in kinds:
                        file = folder / sibling(target, kind).name
                        graph, contract = self._graph_and_contract(kind, attempt, optimize)
                        set_contract(graph, contract)
                        write_model(graph, file, external_data=external_data)
                        check_file(file)
                        report = self._measure(file, graph, contract)
                        failures, rounded = report.failures(gate), None
                        if failures and enforce:
                            raise _gate_error(contract, failures)
                        parity = report.to_mapping(gate if enforce else None)
                        if bf16 is not None:
                            rounded = self._measure_bf16(file, contract)
                            missing = rounded.failures(bf16)
                            if missing and enforce:
                                raise _bf16_gate_error(contract, missing)
                            failures += tuple(f"with --bf16, {failure}" for failure in missing)
                            parity["bf16"] = rounded.to_mapping(bf16 if enforce else None)
                        if kept:
                            parity["kept_in_float"] = list(kept)
                        contract = dataclasses.replace(contract, parity=parity)
                        set_contract(graph, contract)
                        write_model(graph, file, external_data=external_data)
                        named = target.parent / file.name
                        artefacts.append(Artefact(named, contract, report, failures, rounded, kept))
                except _Bf16GateError:  # layers kept in float are no better in bfloat16
                    raise
                except GateError as error:
                    missed = missed or error
                    continue
                cards = {artefact.path.name: artefact.contract for artefact in artefacts}
                write_text(folder / card_path(target).name, model_card(target.stem, cards))
                return tuple(artefacts)
            assert missed is not None
            raise missed

    def graph(self, kind: GraphKind = "whole") -> onnx.ModelProto:
        """Return the fp32 graph; not to be changed."""
        if kind not in self._graphs:
            self._graphs[kind] = convert(self._model, kind=kind, opset=self._opset)
        return self._graphs[kind]

    def lowered(self, options: PrecisionOptions, kind: GraphKind = "whole") -> onnx.ModelProto:
        """Return the graph in a precision. Raises InputError for int8 without calibration data."""
        return lower(self.graph(kind), options, self.histograms(options))

    def histograms(self, options: PrecisionOptions) -> Mapping[str, Histogram]:
        """Return the calibration's measurements; nothing for the precisions that need none.

        Raises InputError where calibration data are needed and missing.
        """
        if not options.quantized:
            return {}
        if self.dataset is None or self.split is None:
            raise InputError(
                f"{options.precision} needs data to calibrate on: name it with --data DATA"
            )
        if options.precision not in self._histograms:
            label = f"calibrating on {number_of(len(self.split.calibration), 'training video')}"
            with progress(self.split.calibration, label, quiet=self.quiet) as videos:
                features = (self.dataset.load_features(video.name) for video in videos)
                measured = calibrate(self.graph(), options, features)
            self._histograms[options.precision] = measured
        return self._histograms[options.precision]

    @cached_property
    def held_out(self) -> HeldOut | None:
        """The videos that judge decisions, with PyTorch's outputs."""
        if self.dataset is None or self.split is None or not self.split.held_out:
            return None
        return HeldOut(
            self._model, self.checkpoint, self.dataset, self.split.held_out, quiet=self.quiet
        )

    @cached_property
    def _parity(self) -> ParityCheck:
        return ParityCheck(self._model, self.held_out)

    @cached_property
    def _histograms(self) -> dict[Precision, Mapping[str, Histogram]]:
        return {}

    def _attempts(self, options: PrecisionOptions, relaxing: bool) -> Iterator[PrecisionOptions]:
        """Yield the options and, for as long as the gate is missed, those that keep more."""
        yield options
        if not relaxing:
            return
        assert self.dataset is not None
        assert self.split is not None
        chosen = evenly(self.split.calibration, RELAXING_VIDEOS)
        videos = [self.dataset.load_features(video.name) for video in chosen]
        yield from relaxed(self.graph(), options, self.histograms(options), videos)

    def _graph_and_contract(
        self, kind: GraphKind, options: PrecisionOptions, optimize: Optimize
    ) -> tuple[onnx.ModelProto, Contract]:
        """Convert, lower and optimize: the graph to write, and its contract without parity."""
        if kind == "live":
            return self.graph(kind), self._contract(kind, self.graph(kind), "fp32")
        graph = self.lowered(options, kind)
        contract = self._contract(kind, graph, options.precision)
        if optimize == "cpu":
            graph = optimize_for_cpu(graph, self.checkpoint.model)
            contract = dataclasses.replace(contract, optimize=optimize)
        return graph, contract

    def _measure(self, file: Path, graph: onnx.ModelProto, contract: Contract) -> ParityReport:
        """Run the file, and compare it with the PyTorch model."""
        kind, halo = contract.graph, contract.receptive_field.attention
        session = open_session(file)
        if contract.precision not in FOR_GPUS:
            return self._parity.measure(session, kind=kind, halo=halo)
        # the file must run, but on a CPU its figures are better than on a GPU
        self._parity.tensors(session, kind=kind, halo=halo)
        return self._parity.measure(open_graph(with_rounding(graph)), kind=kind, halo=halo)

    def _measure_bf16(self, file: Path, contract: Contract) -> ParityReport:
        """Run the file as this processor does in bfloat16, and compare it."""
        halo = contract.receptive_field.attention
        with bf16_session(file) as session:
            return self._parity.measure(session, kind=contract.graph, halo=halo)

    def _contract(self, kind: GraphKind, graph: onnx.ModelProto, precision: Precision) -> Contract:
        config = self.checkpoint.model
        return Contract(
            classes=self.checkpoint.classes,
            rgb_dim=config.rgb_dim,
            flow_dim=config.flow_dim,
            opset=self._opset,
            checkpoint_sha256=self._sha256,
            timing=self.checkpoint.timing,
            extraction=self.checkpoint.extraction,
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
        if self.dataset is None or self.split is None or not self.split.calibration:
            return ()
        means = [
            np.asarray(self.dataset.load_features(video.name)).mean(axis=0, dtype=np.float64)
            for video in self.split.calibration
        ]
        # float32 in as few digits as identify it
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


def _kept(attempt: PrecisionOptions, options: PrecisionOptions) -> tuple[str, ...]:
    """Return the layers that an attempt keeps in float beyond the options, in order."""
    fine = (name for name in attempt.fine_layers if name not in options.fine_layers)
    floats = (name for name in attempt.float_layers if name not in options.float_layers)
    return tuple(dict.fromkeys((*fine, *floats)))


def _gate_error(contract: Contract, failures: tuple[str, ...]) -> GateError:
    return GateError(
        f"the {contract.precision} {contract.graph} graph is too far from the PyTorch model "
        f"({'; '.join(failures)}): nothing was written. --sensitivity shows which layers cost "
        "most, --float-layer keeps them in float, --gate moves the bounds"
    )


class _Bf16GateError(GateError):
    """The file passes, but not as --bf16 computes it."""


def _bf16_gate_error(contract: Contract, failures: tuple[str, ...]) -> GateError:
    return _Bf16GateError(
        f"in bfloat16, the {contract.precision} {contract.graph} graph is too far from the PyTorch "
        f"model ({'; '.join(failures)}): nothing was written. Without --bf16 the file would pass: "
        "run it without, too"
    )
