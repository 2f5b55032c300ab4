"""Which shapes a TensorRT engine is tuned for, and which profile takes a batch."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from co2net_runtime.artefact.backbone import CLIPS_INPUT, BackboneContract
from co2net_runtime.artefact.contract import Contract
from co2net_runtime.errors import BackendError, InputError
from co2net_runtime.files.text import number_of


@dataclass(frozen=True)
class Profile:
    """Minimum, optimum and maximum of the batch B and of the length T, in snippets.

    An engine runs every shape between minimum and maximum, and is fastest at the optimum; its
    memory is that of the maximum.
    """

    batch: tuple[int, int, int] = (1, 1, 1)
    length: tuple[int, int, int] = (1, 256, 512)

    def __post_init__(self) -> None:
        for name, (low, best, high) in (("batch", self.batch), ("length", self.length)):
            if not 1 <= low <= best <= high:
                raise ValueError(f"expected 1 <= min <= opt <= max of {name}, got {self}")

    @staticmethod
    def parse(text: str) -> "Profile":
        """Read "1x1:1x256:8x512": minimum, optimum and maximum as BxT.

        Raises InputError for anything else.
        """
        if not re.fullmatch(r"\d+x\d+:\d+x\d+:\d+x\d+", text):
            raise InputError(f"profile {text!r}: expected MIN:OPT:MAX, each BxT (1x1:1x256:8x512)")
        pairs = [tuple(map(int, shape.split("x"))) for shape in text.split(":")]
        try:
            return Profile(*zip(*pairs, strict=True))
        except ValueError as error:
            raise InputError(f"profile {text!r}: {error}") from error

    def __str__(self) -> str:
        return ":".join(f"{b}x{t}" for b, t in zip(self.batch, self.length, strict=True))

    def holds(self, batch: int, length: int) -> bool:
        """Return whether the profile takes `batch` videos of T = `length`."""
        return (
            self.batch[0] <= batch <= self.batch[2] and self.length[0] <= length <= self.length[2]
        )

    def shapes(self, contract: Contract | BackboneContract) -> dict[str, list[tuple[int, ...]]]:
        """Return the minimum, optimum and maximum shape of each input of the graph."""
        three = [
            input_shapes(contract, *pair) for pair in zip(self.batch, self.length, strict=True)
        ]
        return {name: [shapes[name] for shapes in three] for name in three[0]}


def input_shapes(
    contract: Contract | BackboneContract, batch: int, length: int
) -> dict[str, tuple[int, ...]]:
    """Return the shape of each input for `batch` videos of T = `length`, or clips of a backbone."""
    if isinstance(contract, BackboneContract):
        return {CLIPS_INPUT: (batch, *contract.clip_shape)}
    every: dict[str, tuple[int, ...]] = {
        "features": (batch, length, contract.feature_dim),
        "lengths": (batch,),
        "context": (batch, contract.feature_dim),
    }
    return {name: every[name] for name in contract.inputs}


# short videos may come together; a long one fills the machine by itself. The longest is a chunk of
# 4096 snippets (longer videos run in chunks) with its neighbors.
DEFAULT_PROFILES = (Profile((1, 1, 8), (1, 256, 512)), Profile((1, 1, 1), (1, 1500, 4160)))
# clips of a backbone
CLIP_PROFILE = Profile((1, 8, 8), (1, 1, 1))


@dataclass(frozen=True)
class TensorRtOptions:
    """How a TensorRT engine is built and run."""

    # shapes it takes; None: those of an engine that was built before, else DEFAULT_PROFILES
    profiles: tuple[Profile, ...] | None = None
    # pad each video to one of few lengths and replay the network as one recorded launch; pays where
    # launching kernels takes longer than running them
    cuda_graphs: bool = False
    hardware_compatible: bool = False  # run on every GPU from Ampere on, a little slower
    version_compatible: bool = False  # also run in later TensorRT of the same major version
    workspace_mib: int | None = None  # scratch memory of building and running; None: all
    optimization_level: int | None = None  # 0 (builds fast) to 5 (tries most); None: TensorRT's, 3
    # measurements of kernels, read and written by the build; None: this GPU's in the cache folder
    timing_cache: Path | None = None

    def __post_init__(self) -> None:
        if self.profiles == ():
            raise ValueError("expected at least one profile")

    @property
    def to_build(self) -> tuple[Profile, ...]:
        """The profiles that a new engine gets."""
        return self.profiles or DEFAULT_PROFILES


def for_clips(options: TensorRtOptions) -> TensorRtOptions:
    """Return the options for a backbone: profiles over the number of clips, T is 1."""
    wanted = options.profiles or (CLIP_PROFILE,)
    return replace(options, profiles=tuple(Profile(one.batch, (1, 1, 1)) for one in wanted))


def choose(profiles: Sequence[Profile], batch: int, length: int) -> int:
    """Return the index of the profile for `batch` videos of T = `length`.

    Of those that take the shape it is the one with the smallest maximum: it is tuned the closest.

    Raises BackendError if none takes it.
    """
    fitting = [i for i, profile in enumerate(profiles) if profile.holds(batch, length)]
    if not fitting:
        raise _no_profile(profiles, batch, length)
    return min(fitting, key=lambda i: profiles[i].batch[2] * profiles[i].length[2])


def max_batch(profiles: Sequence[Profile], length: int) -> int:
    """Return the largest batch of videos of T = `length` that some profile takes.

    Raises BackendError if none takes that length.
    """
    batches = [
        profile.batch[2] for profile in profiles if profile.length[0] <= length <= profile.length[2]
    ]
    if not batches:
        raise _no_profile(profiles, 1, length)
    return max(batches)


def covering(profiles: Sequence[Profile]) -> Profile:
    """Return one profile of all their lengths, tuned for the first's optimum.

    Its largest shape holds no more snippets than the largest of theirs, since memory follows it:
    so its batches may be smaller.
    """
    length = (
        min(profile.length[0] for profile in profiles),
        profiles[0].length[1],
        max(profile.length[2] for profile in profiles),
    )
    snippets = max(profile.batch[2] * profile.length[2] for profile in profiles)
    low = min(profile.batch[0] for profile in profiles)
    high = max(low, snippets // length[2])
    return Profile((low, min(profiles[0].batch[1], high), high), length)


def _no_profile(profiles: Sequence[Profile], batch: int, length: int) -> BackendError:
    known = " ".join(str(profile) for profile in profiles)
    return BackendError(
        f"{number_of(batch, 'video')} of T = {length} at once are beyond the engine's profiles "
        f"({known}): "
        "build it for them with co2net-engine --profile, or give shorter videos"
    )
