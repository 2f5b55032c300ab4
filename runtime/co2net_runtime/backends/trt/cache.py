"""Engines on disk: a raw .engine (trtexec loads it) with a JSON beside it that says what it is."""

import dataclasses
import hashlib
import json
import logging
import os
import platform
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from co2net_runtime.artefact.backbone import BackboneContract
from co2net_runtime.artefact.contract import BACKBONE, Contract, contract_text
from co2net_runtime.artefact.onnx_file import read_metadata
from co2net_runtime.backends import EngineOptions
from co2net_runtime.backends.device import Device, Gpu, gpus, is_tegra
from co2net_runtime.backends.trt.api import load_tensorrt
from co2net_runtime.backends.trt.build import Built, build_engine
from co2net_runtime.errors import BackendError, Co2netError, InputError
from co2net_runtime.files.atomic import atomic_path, sha256, write_text
from co2net_runtime.files.cache import cache_folder, locked, slug, unusable
from co2net_runtime.files.inputs import require_file
from co2net_runtime.files.records import from_mapping, take_schema_version, to_mapping
from co2net_runtime.files.text import read_json
from co2net_runtime.version import VERSION

logger = logging.getLogger(__name__)

# 1 did not tell Jetsons of one generation apart
SCHEMA_VERSION = 2
GIB = 1 << 30


@dataclass(frozen=True)
class EngineRecord:
    """The description of an engine file, in its sidecar."""

    onnx_sha256: str  # of the model file
    engine_sha256: str  # of the engine file
    tensorrt: str  # version that built it
    gpu: str  # name of the GPU that it was built on
    compute_capability: str  # of that GPU
    multiprocessors: int  # of that GPU
    memory_gib: int  # of that GPU
    architecture: str  # of the CPU beside it
    profiles: tuple[str, ...]  # as `Profile` writes them
    tf32: bool  # whether fp32 multiplications may be rounded
    hardware_compatible: bool  # these four as in `TensorRtOptions`
    version_compatible: bool
    workspace_mib: int | None
    optimization_level: int | None
    contract: Mapping[str, Any]  # of the ONNX file; strongly typed, the engine has its precision
    build_s: float  # seconds
    layers: Mapping[str, Any] = field(default_factory=dict)  # as `inspect_layers` found them
    co2net: str = VERSION  # version of co2net that built it

    def to_json(self) -> str:
        """Return the text of the sidecar."""
        return json.dumps({"schema_version": SCHEMA_VERSION, **to_mapping(self)}, indent=2) + "\n"


def read_any_contract(path: str | os.PathLike[str]) -> Contract | BackboneContract:
    """Read the contract of an ONNX file, a localization model's or a backbone's.

    Raises InputError if the file is damaged, ContractError if it has no contract.
    """
    return _contract(contract_text(read_metadata(path), str(path), "co2net-export"), str(path))


def contract_of(record: EngineRecord, where: str) -> Contract | BackboneContract:
    """Return the contract in an engine's sidecar.

    Raises ContractError if it is damaged.
    """
    return _contract(json.dumps(record.contract), where)


def _contract(text: str, where: str) -> Contract | BackboneContract:
    try:
        kind = json.loads(text).get("kind")
    except (ValueError, AttributeError):
        kind = None  # the error is that of a localization model
    of_kind = BackboneContract if kind == BACKBONE else Contract
    return of_kind.from_json(text, where)


@dataclass(frozen=True)
class Target:
    """Where an engine will run: the GPU and the installed TensorRT."""

    gpu: Gpu
    tensorrt: str


def here(device: Device) -> Target:
    """Return one of this machine's GPUs, with the TensorRT that is installed.

    Raises MissingDependencyError or BackendError without TensorRT.
    """
    return Target(gpus()[device.index], str(load_tensorrt().__version__))


def sidecar(path: Path) -> Path:
    """Return the path of the JSON beside an engine."""
    return path.with_name(path.name + ".json")


def read_engine(path: Path, target: Target) -> tuple[bytes, EngineRecord]:
    """Return an engine and its record.

    Raises InputError if a file is missing or damaged, or the two do not belong together,
    BackendError if the engine is of another GPU or TensorRT.
    """
    record = _read_record(path)
    engine = path.read_bytes()
    if hashlib.sha256(engine).hexdigest() != record.engine_sha256:
        raise InputError(f"{path}: truncated or changed since it was built")
    if reason := _unfit(record, target):
        raise BackendError(f"{path}: {reason}")
    return engine, record


def write_engine(path: Path, engine: bytes, record: EngineRecord) -> None:
    """Write an engine and its sidecar, each atomically.

    Raises InputError or OSError if the folder cannot be written or is full.
    """
    # a crash in between leaves a sidecar whose hash does not fit: it is noticed
    with atomic_path(path) as temporary:
        temporary.write_bytes(engine)
    write_text(sidecar(path), record.to_json())


def cached_engine(
    onnx: str | os.PathLike[str], options: EngineOptions, target: Target
) -> tuple[bytes, EngineRecord]:
    """Return the engine of an ONNX file from the cache folder; build it if there is none that fits.

    Where no profiles are asked for, one that was built with others serves, too. Of several
    processes one builds and the others wait for it. A cache folder that cannot be written costs
    the build at each start, with a warning.

    Raises InputError if the ONNX file is damaged, BackendError if TensorRT refuses it.
    """
    onnx_sha256 = sha256(onnx)
    path = engine_path(onnx, onnx_sha256, options, target)
    if problem := unusable(path.parent):
        logger.warning("%s: %s: the engine is built again at each start", path.parent, problem)
        return new_engine(onnx, options, target)
    with locked(path.with_suffix(".lock")):
        # "NAME-GPU-KEY-PROFILES.engine"
        others = path.parent.glob(f"{path.stem.rpartition('-')[0]}-*.engine")
        for candidate in (path, *(others if options.tensorrt.profiles is None else ())):
            found = _read_if_fit(candidate, target, onnx_sha256)
            if found is not None:
                return found
        engine, record = new_engine(onnx, options, target)
        if record.onnx_sha256 != onnx_sha256:
            raise InputError(f"{onnx}: replaced while its engine was built: start again")
        try:
            write_engine(path, engine, record)
        except (OSError, InputError) as error:
            logger.warning("%s: the engine is built again at each start", error)
        return engine, record


def _read_if_fit(path: Path, target: Target, onnx_sha256: str) -> tuple[bytes, EngineRecord] | None:
    """Return an engine of the cache, None where it is missing, damaged or of another kind."""
    if not path.exists():
        return None
    try:
        engine, record = read_engine(path, target)
    except Co2netError as error:
        logger.warning("%s: building it again", error)
        return None
    if record.onnx_sha256 != onnx_sha256:
        logger.warning("%s: built from another model file: building it again", path)
        return None
    return engine, record


def engine_path(
    onnx: str | os.PathLike[str],
    onnx_sha256: str,
    options: EngineOptions,
    target: Target,
) -> Path:
    """Return where the cache keeps the engine for this model, GPU and these build options."""
    wanted = _build_options(options)
    profiles = " ".join(wanted.pop("profiles"))
    key = _digest(f"{onnx_sha256} {sorted(wanted.items())} {sorted(_place(target).items())}")
    name = f"{slug(Path(onnx).stem)}-{slug(target.gpu.name)}-{key}-{_digest(profiles)}.engine"
    return cache_folder(options.cache) / "tensorrt" / name


def new_engine(
    onnx: str | os.PathLike[str], options: EngineOptions, target: Target
) -> tuple[bytes, EngineRecord]:
    """Build an engine, with and for the timing cache that is named or that of this GPU.

    Raises InputError if the ONNX file is damaged or replaced meanwhile, BackendError if TensorRT
    refuses it.
    """
    contract = read_any_contract(onnx)
    if options.tensorrt.hardware_compatible and is_tegra():
        raise BackendError("TensorRT builds no hardware-compatible engines on a Jetson")
    place = _digest(str(sorted(_place(target).items())))
    name = f"timing-{slug(target.gpu.name)}-{place}-{target.tensorrt}.cache"
    timing = options.tensorrt.timing_cache or cache_folder(options.cache) / "tensorrt" / name
    logger.info("building the TensorRT engine of %s for %s ...", onnx, target.gpu.name)
    start = time.perf_counter()
    onnx_sha256 = sha256(onnx)
    known = timing.read_bytes() if timing.is_file() else b""
    built = build_engine(onnx, contract, options.tensorrt, tf32=options.tf32, timing_cache=known)
    elapsed = time.perf_counter() - start
    if sha256(onnx) != onnx_sha256:
        raise InputError(f"{onnx}: replaced while its engine was built: start again")
    logger.info("built in %.0f s, %.1f MB", elapsed, len(built.engine) / 1e6)
    _keep_timing(timing, built)
    record = EngineRecord(
        onnx_sha256=onnx_sha256,
        engine_sha256=hashlib.sha256(built.engine).hexdigest(),
        tensorrt=target.tensorrt,
        **_place(target),
        contract=json.loads(contract.to_json()),
        build_s=round(elapsed, 1),
        layers=built.layers,
        **_build_options(options),
    )
    return built.engine, record


def _build_options(options: EngineOptions) -> dict[str, Any]:
    """Return the options that make engines differ, by their names in the record."""
    build = options.tensorrt
    given = {field.name: getattr(build, field.name) for field in dataclasses.fields(build)}
    del given["cuda_graphs"], given["timing_cache"]
    profiles = tuple(str(profile) for profile in build.to_build)
    return {**given, "profiles": profiles, "tf32": options.tf32}


def _keep_timing(path: Path, built: Built) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as temporary:
            temporary.write_bytes(built.timing_cache)
    except (OSError, InputError) as error:
        logger.warning("the timing cache is not kept: %s", error)


def _read_record(path: Path) -> EngineRecord:
    beside = sidecar(path)
    require_file(path)
    if not beside.is_file():
        raise InputError(
            f"{path}: an engine without {beside.name}, which says what it is: build it with "
            "co2net-engine"
        )
    mapping = read_json(beside, "the record of an engine")
    if not isinstance(mapping, dict):
        raise InputError(f"{beside}: damaged, expected the JSON of co2net-engine")
    remedy = "build the engine again with co2net-engine"
    take_schema_version(mapping, str(beside), (SCHEMA_VERSION,), remedy)
    return from_mapping(EngineRecord, mapping, str(beside))


def _unfit(record: EngineRecord, target: Target) -> str:
    """Return why the engine does not run on the target, "" if it does."""
    built, here = _numbers(record.tensorrt), _numbers(target.tensorrt)
    later = record.version_compatible and built[:1] == here[:1] and built <= here
    if built != here and not later:
        return f"built by TensorRT {record.tensorrt}, here is {target.tensorrt}"
    place = _place(target)
    built_at = {name: getattr(record, name) for name in place}
    same_cpu = record.architecture == place["architecture"]
    ampere = record.hardware_compatible and same_cpu and target.gpu.capability >= (8, 0)
    if built_at != place and not ampere:
        return f"built on {_described(built_at)}, here is {_described(place)}"
    return ""


def _place(target: Target) -> dict[str, Any]:
    """Return the place that an engine is built for, in the record's words.

    The driver calls each Jetson of a generation by the same name.
    """
    gpu = target.gpu
    return {
        "gpu": gpu.name,
        "compute_capability": gpu.compute_capability,
        "multiprocessors": gpu.multiprocessors,
        "memory_gib": round(gpu.memory_bytes / GIB),
        "architecture": platform.machine(),
    }


def _described(place: dict[str, Any]) -> str:
    return (
        f"{place['gpu']} (compute capability {place['compute_capability']}, "
        f"{place['multiprocessors']} multiprocessors, {place['memory_gib']} GiB, "
        f"{place['architecture']})"
    )


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdecimal())
