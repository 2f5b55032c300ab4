"""The videos that artefacts are compared on, and PyTorch's outputs for them, computed once."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from co2net.checkpoint import Checkpoint
from co2net.data.dataset import Dataset
from co2net.data.video import evenly
from co2net_benchmarks.inputs import planted_features
from co2net_export.parity.parity import HeldOut
from co2net_export.parity.report import Accuracy
from co2net_runtime.cli import console
from co2net_runtime.decoding.decisions import Outputs
from co2net_runtime.errors import InputError
from co2net_runtime.features import FeatureFile, Features

BANDS = ((100, "T <= 100"), (300, "T <= 300"), (1000, "T <= 1000"), (10**12, "T > 1000"))


@dataclass(frozen=True)
class ReferenceVideo:
    """One video and PyTorch's outputs for it."""

    group: str  # the table row it counts in
    load: Callable[[], Features]  # reads the features when they are wanted
    reference: Outputs


class ReferenceSet:
    """Planted videos of several lengths, then the videos to judge by, if any are added."""

    def __init__(self, checkpoint: Checkpoint, lengths: Sequence[int], *, seed: int = 0) -> None:
        """Plant one video per length and run the PyTorch model on it."""
        self.checkpoint = checkpoint
        self._model = checkpoint.build()
        self._held_out: HeldOut | None = None
        self.planted = tuple(
            self._video(
                f"planted T = {length}",
                partial(planted_features, length, checkpoint.model.feature_dim, seed=seed),
            )
            for length in lengths
        )
        self.given: tuple[ReferenceVideo, ...] = ()

    @property
    def videos(self) -> tuple[ReferenceVideo, ...]:
        """All videos, planted ones first."""
        return self.planted + self.given

    @property
    def judged(self) -> tuple[ReferenceVideo, ...]:
        """The videos whose decisions are compared: those given, else the planted ones."""
        return self.given or self.planted

    def add_files(self, files: Sequence[FeatureFile], *, quiet: bool = False) -> None:
        """Judge by feature files. Raises InputError for one that cannot be used."""
        dim = self.checkpoint.model.feature_dim
        with console.progress(files, "PyTorch", quiet=quiet) as bar:
            self.given = tuple(self._video("", partial(file.read, dim)) for file in bar)

    def add_dataset(
        self, dataset: Dataset, count: int | None = None, *, quiet: bool = False
    ) -> None:
        """Judge by a dataset's test videos, or `count` of them, and by their annotations.

        Raises InputError if they do not fit the checkpoint.
        """
        found, wanted = dataset.rgb_dim + dataset.flow_dim, self.checkpoint.model.feature_dim
        if found != wanted:
            raise InputError(
                f"{dataset.path}: {found} channels a snippet, the checkpoint takes {wanted}"
            )
        videos = evenly(dataset.videos(dataset.test_subset), count)
        self._held_out = HeldOut(self._model, self.checkpoint, dataset, videos, quiet=quiet)
        self.given = tuple(
            ReferenceVideo(_band(reference), partial(dataset.load_features, video.name), reference)
            for video, reference in zip(videos, self._held_out.references, strict=True)
        )

    def accuracy(self, outputs: Sequence[Outputs]) -> Accuracy | None:
        """Compare an artefact's mAP on the videos given; None without annotations."""
        return None if self._held_out is None else self._held_out.accuracy(outputs)

    def _video(self, group: str, load: Callable[[], Features]) -> ReferenceVideo:
        import torch

        with torch.inference_mode():
            # a copy: features may be mapped read-only, which torch warns of
            outputs = self._model(torch.tensor(load()[None]))
        reference = Outputs(outputs.cas[0].numpy(), outputs.attention[0, :, 0].numpy())
        return ReferenceVideo(group or _band(reference), load, reference)


def group_order(group: str) -> int:
    """Return the place of a group in tables: planted ones first, then from short to long."""
    names = [name for _, name in BANDS]
    return names.index(group) if group in names else -1


def _band(reference: Outputs) -> str:
    return next(name for limit, name in BANDS if len(reference.attention) <= limit)
