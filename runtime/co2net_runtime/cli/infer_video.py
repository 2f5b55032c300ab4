"""co2net-infer on videos: the files stand for the features that backbones extract from them."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from co2net_runtime.artefact.backbone import FlowAlgorithm
from co2net_runtime.backends import EngineOptions
from co2net_runtime.cli import console
from co2net_runtime.cli.video_options import check_flow_algorithm
from co2net_runtime.features import FeatureFile
from co2net_runtime.localizer import Localizer
from co2net_runtime.video.extract import Extractor
from co2net_runtime.video.files import find_videos
from co2net_runtime.video.identity import Extraction
from co2net_runtime.video.localizer import VideoFile, check_fit, feature_folder


@dataclass(frozen=True)
class VideoOptions:
    """How co2net-infer makes features of videos."""

    rgb: Path  # the RGB backbone
    flow: Path | None  # the flow backbone
    flow_algorithm: FlowAlgorithm | None  # None: the flow backbone's
    accept_mismatch: bool
    save_features: Path | None  # the folder that keeps the features
    keep: bool  # take features that are in it from an earlier run


def video_arguments(arguments: Sequence[str]) -> list[FeatureFile]:
    """Return the videos that the arguments name, as files yet to be extracted.

    Raises InputError if an argument names nothing, or two videos have one name.
    """
    return [FeatureFile(name, path) for name, path in find_videos(arguments).items()]


@contextmanager
def extracted(
    files: Sequence[FeatureFile],
    localizer: Localizer,
    model: Path,
    options: VideoOptions,
    engine: EngineOptions,
    *,
    quiet: bool,
) -> Iterator[tuple[list[FeatureFile], Extraction]]:
    """Open the backbones; yield the videos as files that are extracted when they are read.

    Raises what `Extractor.open` and `check_fit` raise.
    """
    check_flow_algorithm(options.flow_algorithm, options.flow)
    with Extractor.open(
        options.rgb,
        options.flow,
        engine,
        flow_algorithm=options.flow_algorithm,
        accept_mismatch=options.accept_mismatch,
    ) as extractor:
        extraction = extractor.extraction
        check_fit(
            localizer.contract, extractor, str(model), accept_mismatch=options.accept_mismatch
        )
        console.note(str(extraction), quiet=quiet)
        with feature_folder(options.save_features, extraction) as folder:
            yield (
                [
                    VideoFile(
                        file.video,
                        file.path,
                        extractor=extractor,
                        folder=folder,
                        keep=options.keep,
                        discard=options.save_features is None,
                    )
                    for file in files
                ],
                extraction,
            )
