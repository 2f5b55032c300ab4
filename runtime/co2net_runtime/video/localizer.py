"""VideoLocalizer: from a video to segments, the door to a model with its backbones."""

import logging
import os
import tempfile
import threading
import weakref
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy.typing as npt

from co2net_runtime.artefact.contract import Contract
from co2net_runtime.backends import EngineOptions
from co2net_runtime.detections import Detections
from co2net_runtime.errors import Co2netError, InputError
from co2net_runtime.features import FeatureFile, Features, check_features
from co2net_runtime.files.npy import map_npy
from co2net_runtime.localizer import Localizer
from co2net_runtime.options import SnippetTiming
from co2net_runtime.video.extract import Extractor
from co2net_runtime.video.files import check_folder, write_features
from co2net_runtime.video.identity import OVERRIDE, Extraction

logger = logging.getLogger(__name__)


class VideoLocalizer:
    """Localizes actions in video files.

    Example:
        with VideoLocalizer.load("model.onnx", "rgb.onnx", "flow.onnx") as localizer:
            detections = localizer("clip.mp4")  # segments in seconds, scores, labels
    """

    def __init__(self, localizer: Localizer, extractor: Extractor) -> None:
        """Use `VideoLocalizer.load`."""
        self.localizer, self.extractor = localizer, extractor

    @staticmethod
    def load(
        model: str | os.PathLike[str],
        rgb: str | os.PathLike[str],
        flow: str | os.PathLike[str] | None = None,
        options: EngineOptions = EngineOptions(),
        *,
        accept_mismatch: bool = False,
    ) -> "VideoLocalizer":
        """Open a model and its backbones.

        Args:
            model: An ONNX file of co2net-export, or an engine of co2net-engine.
            rgb: The RGB backbone, an ONNX file of co2net-backbone.
            flow: The flow backbone; None for a model of RGB features alone.
            options: How to run all three.
            accept_mismatch: Whether the model's features may have been extracted otherwise.

        Raises:
            InputError: A file cannot be used, or they do not go together.
            ContractError: A file is not what it is given as.
            MissingDependencyError: PyAV, OpenCV or the engine is not installed.
            BackendError: The engine refuses a file.
        """
        with ExitStack() as stack:
            localizer = stack.enter_context(Localizer.load(model, options))
            extractor = stack.enter_context(Extractor.open(rgb, flow, options))
            check_fit(localizer.contract, extractor, str(model), accept_mismatch=accept_mismatch)
            stack.pop_all()
        return VideoLocalizer(localizer, extractor)

    def __call__(self, video: str | os.PathLike[str]) -> Detections:
        """Localize the actions of one video file; memory does not grow with its length.

        Raises:
            InputError: The video cannot be used.
            BackendError: The engine fails.
        """
        with feature_folder(None, self.extractor.extraction) as folder:
            file = VideoFile(Path(video).stem, Path(video), extractor=self.extractor, folder=folder)
            network = self.localizer.network
            (rows,) = file.mapped()
            (found,) = network.run([network.check(rows, str(video))])
            del rows  # Windows does not remove a mapped file
            return self.localizer.detect(found)

    def close(self) -> None:
        """Free the engines."""
        self.extractor.close()
        self.localizer.close()

    def __enter__(self) -> "VideoLocalizer":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@dataclass(frozen=True)
class VideoFile(FeatureFile):
    """A video that stands for its features: reading it extracts them into `folder` first."""

    extractor: Extractor | None = None
    folder: Path = Path()
    keep: bool = False  # take features that are there
    discard: bool = False  # the name of the file is free again once it is opened
    cancelled: threading.Event = field(default_factory=threading.Event)
    opened: list["weakref.ref[npt.NDArray[Any]]"] = field(default_factory=list)

    @property
    def film(self) -> Path:
        """The video."""
        return self.path

    def read(self, feature_dim: int | None = None) -> Features:
        """Return the features (T, D) float32, T >= 1, all finite. Raises what extracting does."""
        (rows,) = self.mapped()
        return check_features(rows, str(self.path), feature_dim)

    def mapped(self) -> tuple[npt.NDArray[Any], ...]:
        """Return the array of the features, on disk. Raises what extracting does."""
        assert self.extractor is not None
        # who looks at the file and then reads it does not extract it twice
        earlier = self.opened[-1]() if self.opened else None
        if earlier is not None:
            return (earlier,)
        target = self.folder / f"{self.video}.npy"
        if not (self.keep and target.exists()):
            write_features(self.extractor, self.path, target, on_rows=self._go_on)
        rows = map_npy(target)
        if self.discard and os.name != "nt":
            target.unlink()  # the disk is free when the last reader has gone
        self.opened.append(weakref.ref(rows))
        return (rows,)

    def cancel(self) -> None:
        """Cancel an extraction that runs in another thread; nothing is left of it."""
        self.cancelled.set()

    def _go_on(self, _count: int) -> None:
        if self.cancelled.is_set():
            raise Co2netError(f"{self.path}: interrupted")

    def length(self) -> int | None:
        """Return None: unknown until the features are extracted."""
        return None


@contextmanager
def feature_folder(save: Path | None, extraction: Extraction) -> Iterator[Path]:
    """Yield the folder that features go to: `save`, or a temporary one.

    Raises InputError if `save` holds features that were made otherwise.
    """
    if save is not None:
        check_folder(save, extraction)
        yield save
        return
    with tempfile.TemporaryDirectory(prefix="co2net-") as temporary:
        yield Path(temporary)


def check_fit(
    contract: Contract, extractor: Extractor, model: str, *, accept_mismatch: bool
) -> None:
    """Check that a model can take the features, and was trained on features like them.

    Features of unknown origin are warned about.

    Args:
        contract: The model's.
        extractor: The opened backbones.
        model: The model's file, for error texts.
        accept_mismatch: Whether it may have been trained on others.

    Raises:
        InputError: The widths differ, or what the features were made with does.
    """
    found = extractor.extraction
    if found.width != contract.feature_dim:
        missing = "" if found.flow else ": give its flow backbone, too"
        raise InputError(
            f"{model}: takes features of width {contract.feature_dim}, the backbones give "
            f"{found.width}{missing}"
        )
    if found.flow and found.rgb.width != contract.rgb_dim:
        raise InputError(
            f"{model}: takes {contract.rgb_dim} channels of RGB, the backbone gives "
            f"{found.rgb.width}"
        )
    difference = _difference(contract, found, model)
    if difference is None:
        return
    if not accept_mismatch:
        raise InputError(
            f"{model}: trained on other features than these: these: {difference} (go on all the "
            f"same: {OVERRIDE})"
        )
    logger.warning("%s: trained on other features than these: these: %s", model, difference)


def _difference(contract: Contract, found: Extraction, model: str) -> str | None:
    if contract.extraction is not None:
        return found.differs(
            Extraction.from_mapping(contract.extraction, f"{model}: contract: extraction")
        )
    if contract.timing != found.timing:
        return f"{_timing(found.timing)}; there: {_timing(contract.timing)}"
    logger.warning(
        "%s: does not say what its features were extracted with; they may differ from these: %s",
        model,
        found,
    )
    return None


def _timing(timing: SnippetTiming) -> str:
    return f"{timing.snippet_frames} frames at {timing.fps:g} fps"
